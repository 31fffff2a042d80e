"""What is saved predicts what was measured: raw rows, read as the card says, give the logits of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, pipeline

from hf_transfer_kit.backbones.undisturbed import undisturbed
from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.data.decoding import opened_image, undecoded
from hf_transfer_kit.errors import ModelError

ROWS = 32
_TOLERANCE = 1e-3  # of the largest logit
_TASKS = {"image": "image-classification", "text": "text-classification"}


def check_saved(output_dir: str | Path, model: PreTrainedModel, data: LoadedData, prepared: PreparedData) -> int:
    """Loads a saved classifier as its card says and compares its logits on raw test rows with those of the run.

    Args:
        output_dir: Where ``save_results`` has saved model and processor.
        model: The model that was measured.
        data: The raw rows.
        prepared: What the model was measured on.

    Returns:
        How many rows were compared: at most 32; 0 for sounds, whose length no processor keeps.

    Raises:
        ModelError: When a row gets another class or other logits. The folder keeps all that was saved.
    """
    task = _TASKS.get(data.modality)
    if task is None:
        return 0
    count = min(ROWS, len(data.test))
    measured = _measured(model, prepared, count)
    classifier = pipeline(task, model=str(output_dir), device="cpu")
    raw = _raw_rows(data, count)
    options = {"truncation": True} if data.modality == "text" else {}
    names = [model.config.id2label[index] for index in range(measured.shape[1])]
    answers = classifier(raw, top_k=len(names), function_to_apply="none", **options)
    saved = torch.tensor([_in_order(answer, names) for answer in answers])
    near = (saved - measured).abs().amax(dim=1) <= _TOLERANCE * measured.abs().max().clamp(min=1)
    wrong = (~near).nonzero().flatten().tolist()
    if wrong:
        raise ModelError(
            f"The model in {Path(output_dir).name}, loaded as its card says, differs from the measured one in "
            f"{len(wrong)} of {count} raw test rows (row {wrong[0]}: logits {_some(saved[wrong[0]])} instead of "
            f"{_some(measured[wrong[0]])}): its processor makes other inputs than the run did. Report and model are "
            "saved; prepare_data with the settings in config.yaml gives the measured predictions."
        )
    return count


@torch.no_grad()
def _measured(model: PreTrainedModel, prepared: PreparedData, count: int) -> Tensor:
    device = next(model.parameters()).device
    with undisturbed(model, 0):
        batch = prepared.collator([prepared.test[row] for row in range(count)])
        batch.pop("labels", None)
        return model(**on_device(batch, device)).logits.float().cpu()


def _raw_rows(data: LoadedData, count: int) -> list[Any]:
    rows = data.test.select(range(count))
    if data.modality == "image":
        return [opened_image(value) for value in undecoded(rows, data.input_columns[0], "image")]
    if len(data.input_columns) == 2:
        first, second = data.input_columns
        return [{"text": a, "text_pair": b} for a, b in zip(rows[first], rows[second], strict=True)]
    return list(rows[data.input_columns[0]])


def _in_order(answer: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[float]:
    scores = {entry["label"]: entry["score"] for entry in answer}
    return [scores[name] for name in names]


def _some(logits: Tensor) -> str:
    return ", ".join(f"{value:.3f}" for value in logits[:3].tolist())
