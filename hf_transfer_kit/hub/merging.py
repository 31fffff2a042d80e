"""A merged network in a folder, with a card that says what was merged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import ModelCard, ModelCardData
from torch import nn

from hf_transfer_kit.backbones.modality import modality_of
from hf_transfer_kit.data import RawInputs
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub.licence import licence_of
from hf_transfer_kit.hub.metadata import PIPELINES, checked_languages, on_hub
from hf_transfer_kit.hub.placing import written_beside
from hf_transfer_kit.hub.raw_inputs import save_inputs
from hf_transfer_kit.reports.escaping import code_span, markdown_text, plain_text
from hf_transfer_kit.tuning import Merged

_METHODS = {
    "soup": "the mean of their weights ([model soup](https://huggingface.co/papers/2203.05482))",
    "task_arithmetic": "their changes added up ([task arithmetic](https://huggingface.co/papers/2212.04089))",
    "ties": "the largest entries of their changes that agree in sign ([TIES](https://huggingface.co/papers/2306.01708))",
    "dare": "a random share of their changes, scaled and added up ([DARE](https://huggingface.co/papers/2311.03099))",
}


def merge_card(
    merged: Merged,
    *,
    title: str = "A merged network",
    license: str | None = None,
    language: str | Sequence[str] | None = None,
) -> ModelCard:
    """The card: metadata that name what was merged (``base_model_relation: merge``), and how, in words.

    Args:
        merged: What ``merge_models`` gave.
        title: Heading.
        license: Identifier of the new model's licence; default: that of the base, or the first network, where its card
            is at hand.
        language: Codes of the data's languages.

    Raises:
        SettingsError: When the licence is none of the Hub's or against that of what was merged, or a language no code.

    Example:
        >>> import copy
        >>> from hf_transfer_kit import merge_models
        >>> merge_card(merge_models([model, copy.deepcopy(model)], method="soup")).data.tags
        ['merge', 'hf_transfer_kit', 'soup']
    """
    named = [name for name in (*merged.names, merged.base) if name and on_hub(name)]
    licence = license
    notes = list(merged.notes)
    for name in (*merged.names, *filter(None, [merged.base])):
        licence, note = licence_of(licence, name)
        notes += [note] if note else []
    modality = modality_of(merged.model)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=PIPELINES.get(str(modality)),
        tags=["merge", "hf_transfer_kit", merged.method],
        base_model=named or None,
        base_model_relation="merge" if named else None,
        license=licence,
        language=checked_languages(language) or None,
        model_name=plain_text(title),
    )
    rows = [
        f"| {markdown_text(part)} | " + " | ".join(f"{value:g}" for value in values) + " |"
        for part, values in merged.weights.items()
    ]
    lines = [
        f"---\n{data.to_yaml()}\n---",
        f"# {markdown_text(title)}",
        f"{len(merged.names)} networks were merged into this one: {_METHODS[merged.method]}. Nothing was trained, and "
        "nothing was measured when it was made.",
        "\n".join(f"- {_told(name)}" for name in merged.names),
        f"All of them were trained from {_told(merged.base)}." if merged.base else "",
        f"Of each change {merged.density:.0%} of the entries were kept." if merged.density is not None else "",
        "Factors by part of the network; later rows count where two meet:",
        "\n".join(
            [f"| part | {' | '.join(map(_told, merged.names))} |", "|---" * (1 + len(merged.names)) + "|", *rows]
        ),
        *(markdown_text(note) for note in dict.fromkeys(notes)),
    ]
    return ModelCard("\n\n".join(line for line in lines if line) + "\n", ignore_metadata_errors=False)


def save_merged(
    output_dir: str | Path,
    merged: Merged,
    inputs: RawInputs | None = None,
    *,
    title: str = "A merged network",
    license: str | None = None,
    language: str | Sequence[str] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the network, what makes its inputs, and its card; complete or not there.

    Args:
        output_dir: Made when absent.
        merged: What ``merge_models`` gave.
        inputs: What makes inputs of raw rows (``load_inputs`` of one of the networks), so that ``load_transferred`` and
            ``hf-transfer predict`` take the folder; None leaves it out.
        title: As in ``merge_card``, like the next two.
        license: Identifier of the new model's licence.
        language: Codes of the data's languages.
        overwrite: Whether files of others under the same names are replaced.

    Raises:
        SettingsError: As ``merge_card``, when a file of others is in the way, or the folder holds a run's results.

    Example:
        >>> import copy
        >>> from hf_transfer_kit import merge_models
        >>> save_merged("merged", merge_models([model, copy.deepcopy(model)]))
        >>> import os
        >>> {"README.md", "config.json", "model.safetensors"} <= set(os.listdir("merged"))
        True
    """
    card = merge_card(merged, title=title, license=license, language=language)
    if (Path(output_dir) / "report.json").exists():
        raise SettingsError(
            f"{output_dir} holds the results of a run, whose figures are not those of a merged network. Give another "
            "folder."
        )
    with written_beside(output_dir, whole=True, overwrite=overwrite) as staged:
        cast(nn.Module, merged.model).to(memory_format=torch.contiguous_format)
        cast(Any, merged.model).save_pretrained(staged)
        if inputs is not None:
            save_inputs(staged, inputs)
        card.save(staged / "README.md")


def merged_title(folder: Path) -> str | None:
    """The heading of a folder that ``save_merged`` has left; None of any other."""
    if not (folder / "README.md").is_file() or (folder / "report.json").exists():
        return None
    data = ModelCard.load(folder / "README.md", ignore_metadata_errors=True).data
    tags = data.tags if isinstance(data.tags, list) else []
    return str(data.model_name) if {"merge", "hf_transfer_kit"} <= set(tags) else None


def _told(name: str) -> str:
    """A name of the Hub as a link, of a folder the last part of its path: a card shows nothing of a machine."""
    if on_hub(name):
        return f"[{name}](https://huggingface.co/{name})"
    return code_span(Path(name).name or name)
