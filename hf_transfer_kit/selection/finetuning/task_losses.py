"""The loss of a task that is no classification, of a network's logits, whatever loss its class knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.data.label_kinds import CLASSIFICATION, TOKEN_CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.heads import HEADS
from hf_transfer_kit.selection.finetuning.transcripts import TranscriptLoss, check_alignable

OWN_LOSSES = ("regression", "multi_label", TOKEN_CLASSIFICATION, "ctc")
"""Types of tasks that a race trains beside classification."""
_OF_POSITIONS = {TOKEN_CLASSIFICATION: ("tokens", "for words as a token classifier"), "ctc": ("positions", "for CTC")}


class TaskLoss:
    """A ``compute_loss_func`` for Trainer: the loss of ``hf_transfer_kit.multitask.heads``, its mean over the batch.

    Args:
        task_type: One of ``OWN_LOSSES`` but ``ctc``, whose rows have different lengths (``TranscriptLoss``).
        num_labels: Outputs of the network.
        scale: Of the numbers of regression, (C,): errors are told in units of it.
    """

    def __init__(self, task_type: str, num_labels: int, scale: np.ndarray | None = None) -> None:
        options = {} if scale is None else {"scale": scale.tolist()}
        self._head = HEADS[task_type](1, num_labels, **options)  # its loss reads logits; its layer is not used

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"]
        total, count = self._head.loss(logits, labels)
        if num_items_in_batch is None:
            return total / max(int(count), 1)
        # Trainer counts every entry of the labels that is not -100; of rows with several numbers that is C a row.
        entries = labels[0].numel() if logits.dim() == 2 else 1
        return total * entries / num_items_in_batch


def task_loss(data: PreparedData) -> TaskLoss | TranscriptLoss | None:
    """The loss of prepared data's task; None of classification, which networks know themselves."""
    if data.task_type == CLASSIFICATION:
        return None
    if data.task_type == "ctc":
        return TranscriptLoss()
    if data.task_type == "regression":
        labels = _labels(data)
        scale = np.nanstd(labels, axis=0)
        return TaskLoss("regression", labels.shape[1], np.where(scale > 0, scale, 1.0))
    return TaskLoss(data.task_type, max(1, len(data.label_names)))


def check_task_fits(model: torch.nn.Module, data: PreparedData) -> None:
    """Refuses a network whose outputs are not those of the task, by running it on one row, and rows that do not fit.

    Raises:
        SettingsError: With what it gives and what is wanted.
        DataError: When rows are too short for their transcripts.
    """
    if data.task_type == CLASSIFICATION:
        return
    row = {name: value for name, value in data.collator([data.train[0]]).items() if name != "labels"}
    device = next(model.parameters()).device
    with torch.no_grad(), seeded_eval_mode(model, 0):
        logits = model(**on_device(row, device)).logits
    places, class_of = _OF_POSITIONS.get(data.task_type, ("", ""))
    axes = 3 if places else 2
    outputs = _labels(data).shape[1] if data.task_type == "regression" else len(data.label_names)
    if logits.dim() != axes or logits.shape[-1] != outputs:
        wanted = f"(rows, {places}, {outputs})" if places else f"(rows, {outputs})"
        raise SettingsError(
            f"{data.task_type} needs logits of shape {wanted}, but {type(model).__name__} gives {tuple(logits.shape)} "
            f"for one row. Load it with as many labels{f', {class_of}' if places else ''} (load_model(task_type=...))."
        )
    if data.task_type == "ctc":
        check_alignable(model, data)


def _labels(data: PreparedData) -> np.ndarray:
    """Numbers of the training rows, (rows, C)."""
    rows = data.train
    label = getattr(rows, "label", None) or (lambda row: rows[row]["labels"])
    return np.asarray([label(row) for row in range(len(rows))], dtype=np.float64).reshape(len(rows), -1)


PROBLEM_TYPES: Mapping[str, str | None] = {name: HEADS[name].problem_type for name in OWN_LOSSES}
"""Type of task -> transformers' word for it, which a saved network carries."""
