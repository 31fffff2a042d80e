"""What is saved predicts what was measured: raw rows, read as the card says, give the logits of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor
from transformers import AutoModel, PreTrainedModel, pipeline

from hf_transfer_kit.backbones.auto_classes import TASK_CLASSES, classifier_class
from hf_transfer_kit.backbones.loading import load_processor
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.data import LoadedData, PreparedData, raw_rows
from hf_transfer_kit.data.collating import NOT_LABELLED, on_device
from hf_transfer_kit.data.decoding import opened_image
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.hub.raw_inputs import load_inputs
from hf_transfer_kit.multitask import MultiTaskModel
from hf_transfer_kit.zero_shot import ZeroShotModel

ROWS = 32
_TOLERANCE = 1e-4  # of the largest logit, where that is above 1
_TASKS = {"image": "image-classification", "text": "text-classification"}


def check_saved(
    output_dir: str | Path,
    model: PreTrainedModel,
    data: LoadedData,
    prepared: PreparedData,
    *,
    task: str | None = None,
    input: str | None = None,
    max_rows: int | None = ROWS,
) -> int:
    """Loads a saved model as its card says and compares its logits on raw test rows with those of the run.

    Classifiers of images and texts are asked through their pipeline, all else through ``load_inputs``.

    Args:
        output_dir: Where ``save_results`` has saved model and processor.
        model: The model that was measured.
        data: The raw rows.
        prepared: What the model was measured on.
        task: Of a network of several tasks the one whose rows these are.
        input: The input that they go into.
        max_rows: How many to compare; None for all.

    Returns:
        How many rows were compared.

    Raises:
        ModelError: When a row gets other logits. The folder keeps all that was saved.

    Example:
        >>> prepared = prepare_data(loaded, processor)
        >>> save_results("out", report, model, prepared.raw_inputs, {})
        >>> check_saved("out", model, loaded, prepared, max_rows=4)
        4
    """
    count = len(data.test) if max_rows is None else min(max_rows, len(data.test))
    measured = _measured(model, prepared, count, task)
    stored = raw_rows(data, "test")
    raw = [stored[row] for row in range(count)]
    plain = not isinstance(model, (MultiTaskModel, ZeroShotModel))
    if plain and prepared.task_type in TASK_CLASSES:
        kind = getattr(transformers, TASK_CLASSES[prepared.task_type][0])
        saved = _by_inputs(output_dir, kind, raw, task, input)
        if prepared.task_type == "ctc":  # a loaded network spells in the padding of a batch, where rows are not
            saved = saved.masked_fill(measured == NOT_LABELLED, NOT_LABELLED)
    elif plain and data.modality in _TASKS:
        names = cast(dict[int, str], model.config.id2label)
        saved = _by_pipeline(output_dir, data.modality, raw, [names[i] for i in range(measured.shape[1])])
    else:
        kind = classifier_class(prepared.raw_inputs.reads) if plain else AutoModel
        saved = _by_inputs(output_dir, kind, raw, task, input)
    limit = _TOLERANCE * measured.abs().max().clamp(min=1)
    wrong = (~((saved - measured).abs().flatten(1).amax(dim=1) <= limit)).nonzero().flatten().tolist()
    if wrong:
        raise ModelError(
            f"The model in {Path(output_dir).name}, loaded as its card says, differs from the measured one in "
            f"{len(wrong)} of {count} raw test rows (row {wrong[0]}: logits {_some(saved[wrong[0]])} instead of "
            f"{_some(measured[wrong[0]])}): its processor makes other inputs than the run did. Report and model are "
            "saved; prepare_data with the settings in config.yaml gives the measured predictions."
        )
    return count


@torch.no_grad()
def _measured(model: PreTrainedModel, prepared: PreparedData, count: int, task: str | None) -> Tensor:
    device = next(model.parameters()).device
    found = []
    with seeded_eval_mode(model, 0):
        for start in range(0, count, ROWS):
            batch = prepared.collator([prepared.test[row] for row in range(start, min(start + ROWS, count))])
            batch.pop("labels", None)
            found.append(_logits(model, on_device(batch, device), task))
    return _stacked(found)


def _by_pipeline(folder: str | Path, modality: str, raw: Sequence[Any], names: Sequence[str]) -> Tensor:
    # Given what it would load itself, since of timm's processor it would say that torchvision is missing.
    processor = {"image_processor": load_processor(folder, "image")} if modality == "image" else {}
    classifier = cast(Any, pipeline)(_TASKS[modality], model=str(folder), device="cpu", **processor)
    options = {"truncation": True} if modality == "text" else {}
    rows = [opened_image(row) for row in raw] if modality == "image" else raw
    if modality == "text" and isinstance(raw[0], tuple):
        rows = [{"text": first, "text_pair": second} for first, second in raw]
    answers = classifier(list(rows), top_k=len(names), function_to_apply="none", **options)
    return torch.tensor([_in_order(answer, names) for answer in answers])


@torch.no_grad()
def _by_inputs(folder: str | Path, kind: Any, raw: Sequence[Any], task: str | None, input: str | None) -> Tensor:
    model = kind.from_pretrained(folder).eval()
    inputs = load_inputs(folder, input=input)
    return _stacked([_logits(model, inputs(raw[start : start + ROWS]), task) for start in range(0, len(raw), ROWS)])


def _logits(model: PreTrainedModel, batch: Mapping[str, Tensor], task: str | None) -> Tensor:
    options = {} if task is None else {"task": task}
    return model(**batch, **options).logits.float().cpu()


def _stacked(batches: Sequence[Tensor]) -> Tensor:
    """Logits of all rows; of sequences padded to the longest."""
    longest = max(batch.shape[1] for batch in batches)
    padded = [torch.nn.functional.pad(b, (0, 0) * (b.dim() - 2) + (0, longest - b.shape[1])) for b in batches]
    return torch.cat(padded)


def _in_order(answer: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[float]:
    scores = {entry["label"]: entry["score"] for entry in answer}
    return [scores[name] for name in names]


def _some(logits: Tensor) -> str:
    return ", ".join(f"{value:.3f}" for value in logits.flatten()[:3].tolist())
