"""One of C classes for each row."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.multitask.heads.head import Head
from hf_transfer_kit.tuning.loss_terms.lwf import distillation_loss


class ClassificationHead(Head):
    """Cross entropy; labels are classes, int64 of shape (R,).

    Or shares of the classes that add up to 1, one-hot or soft, float32 of shape (R, C): the cross entropy with them.
    Or they are what a frozen network said of the rows, its logits, float32 of shape (R, C): then the loss is
    T^2 KL(softmax(labels / T) || softmax(logits / T)), which keeps a source task without its data (Li & Hoiem 2018,
    "Learning without forgetting"; ``record_logits`` gathers them).

    Args:
        width: Number of features D.
        num_labels: Number of classes C.
        dropout: Probability in [0, 1) with which a feature is dropped in training.
        temperature: T > 0, the paper's 2 by default.

    Attributes:
        class_weights: Of the cross entropy in training, buffer (C,) that is not saved, or None.
    """

    kind = "classification"
    problem_type = "single_label_classification"
    options: ClassVar[dict[str, Any]] = {"temperature": 2.0}

    class_weights: Tensor | None

    def __init__(self, width: int, num_labels: int, *, dropout: float = 0.0, temperature: float = 2.0) -> None:
        super().__init__(width, num_labels, dropout=dropout)
        self.temperature = temperature
        self.register_buffer("class_weights", None, persistent=False)

    def loss(self, logits: Tensor, labels: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | int]:
        """Sum over rows, and R."""
        if labels.is_floating_point() and labels.shape == logits.shape:
            if _are_shares(labels):
                return functional.cross_entropy(logits.float(), labels.float(), reduction="sum"), len(labels)
            return distillation_loss(logits, labels, self.temperature) * len(labels), len(labels)
        if labels.shape != logits.shape[:1] or labels.is_floating_point():
            raise self._refuse(labels, logits, "one class index for each row, int64 of shape (R,)")
        weights = self.class_weights if self.training else None
        return functional.cross_entropy(logits.float(), labels, weight=weights, reduction="sum"), len(labels)


def _are_shares(labels: Tensor) -> bool:
    """Whether every row is a share of each class, one-hot or soft: logits do not add up to 1."""
    return bool(((labels >= 0).all() & ((labels.sum(dim=1) - 1).abs() < 1e-3).all()).item())
