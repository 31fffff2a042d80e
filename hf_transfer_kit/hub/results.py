"""A run's results in a folder: report, card, settings, model. Complete or not there."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones import is_adapted, merged
from hf_transfer_kit.backbones.adapters import adapter_saving
from hf_transfer_kit.data import RawInputs
from hf_transfer_kit.hub.card import TransferCard
from hf_transfer_kit.hub.card_pictures import save_card_pictures
from hf_transfer_kit.hub.command import without_local_paths
from hf_transfer_kit.hub.placing import written_beside
from hf_transfer_kit.hub.raw_inputs import save_inputs
from hf_transfer_kit.hub.symbols import symbol_tokenizer
from hf_transfer_kit.reports import TransferReport, write_report
from hf_transfer_kit.selection.contest.outcome import COLUMNS, run_rows
from hf_transfer_kit.tuning.rounding import stored_state


def save_results(
    output_dir: str | Path,
    report: TransferReport,
    model: PreTrainedModel,
    inputs: RawInputs | Mapping[str, RawInputs] | object | None,
    config: Mapping[str, object],
    *,
    base_model: str | None = None,
    datasets: Sequence[str] = (),
    license: str | None = None,
    language: str | Sequence[str] | None = None,
    watt_hours: float | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
) -> None:
    """Writes report.json, report.html, results.csv (of a comparison), README.md (the card), config.yaml, the model and
    its processor, of a network for CTC the tokenizer of its symbols, and hf_transfer_kit.json, the manifest that names
    them.

    Everything is written into a folder beside and then moved, report.json last: a run that is interrupted here leaves
    no report that looks complete. Files that the kit left there earlier and that are not written again are removed;
    those of others stay.

    Args:
        output_dir: The run's folder; made when absent.
        report: What was found.
        model: The model to keep; of one with peft adapters the merged weights, and the adapter in ``adapter/``.
        inputs: What makes its inputs of raw rows (``PreparedData.raw_inputs``; of a network of several tasks by name of
            the input), or a processor alone, or None.
        config: Settings that ``--config`` reads back.
        base_model: Hub name of the pretrained network, for the card; a local path is left out of it.
        datasets: Names of the data; those that are not the Hub's are left out.
        license: Identifier of the model's licence.
        language: Codes of the data's languages.
        watt_hours: What the run took, where the machine counted it (``EnergyMeter``).
        dtype: What float32 weights are stored as, ``"float16"`` or ``"bfloat16"`` for half the size, where that changes
            none of them (see ``RoundWeights``); the config names float32, in which they are computed with.
        overwrite: Whether files of others under the same names are replaced.

    Raises:
        SettingsError: When the licence is none of the Hub's or against that of the base, or a language no code; or when
            a file of others is in the way: all that was to be written is then kept in a folder beside it, and named.

    Example:
        >>> save_results("out", report, model, processor, {"seed": 0}, license="mit")
        >>> import os
        >>> {"README.md", "model.safetensors", "report.html", "report.json"} <= set(os.listdir("out"))
        True
    """
    counted = report.watt_hours if watt_hours is None else watt_hours
    report = replace(report, command=without_local_paths(report.command), watt_hours=counted)
    with written_beside(output_dir, whole=True, overwrite=overwrite) as staged:
        cast(nn.Module, model).to(memory_format=torch.contiguous_format)
        if is_adapted(model):
            _save_adapter(model, staged / "adapter")
        kept: Any = merged(model) if is_adapted(model) else model
        processor = inputs.processor if isinstance(inputs, RawInputs) else inputs
        if hasattr(processor, "data_config") and isinstance(getattr(kept.config, "pretrained_cfg", None), dict):
            # timm's settings for images travel in the model's own config.
            side = {"input_size": list(processor.data_config["input_size"])}
            kept.config.pretrained_cfg = {**kept.config.pretrained_cfg, **side}
        small = stored_state(kept, dtype) if dtype != "float32" else None
        kept.save_pretrained(staged, state_dict=small)
        if dtype != "float32":
            report = replace(report, notes=(*report.notes, _stored_as(dtype) if small else _not_stored_as(dtype)))
        if isinstance(inputs, (RawInputs, Mapping)):
            save_inputs(staged, inputs)
        elif processor is not None and not hasattr(processor, "data_config"):
            cast(Any, processor).save_pretrained(staged)
        if report.data.get("task_type") == "ctc":
            symbol_tokenizer(report.data["classes"]).save_pretrained(staged)
        card = TransferCard.from_report(
            report,
            base_model=base_model,
            license=license,
            language=language,
            datasets=datasets,
            pictures=save_card_pictures(staged, report),
            model_class=type(kept),
            raw_inputs=isinstance(inputs, (RawInputs, Mapping)),
            config=json.loads((staged / "config.json").read_text(encoding="utf-8")),
        )
        card.save(staged / "README.md")
        # Mappings inside keep their order, which may be that of tasks.
        settings = yaml.safe_dump(dict(sorted(config.items())), sort_keys=False, allow_unicode=True)
        (staged / "config.yaml").write_text(settings, encoding="utf-8")
        write_report(staged, report)
        if report.runs:
            with (staged / "results.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows(run_rows(report.runs))


def _stored_as(dtype: str) -> str:
    return f"The weights are stored in {dtype}; loaded in float32 they are those that were measured."


def _not_stored_as(dtype: str) -> str:
    return f"The weights are stored in float32, for {dtype} cannot hold those that were measured."


def _save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """The adapter's weights and settings, without the place of its base on this machine and without peft's own card."""
    model.save_pretrained(folder, **adapter_saving(model))
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    base = settings.get("base_model_name_or_path")
    if base and Path(base).exists():
        settings["base_model_name_or_path"] = Path(base).name
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
