"""One of C classes for each row."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.multitask.heads.head import Head


class ClassificationHead(Head):
    """Cross entropy; labels are classes, int64 of shape (R,)."""

    kind = "classification"
    problem_type = "single_label_classification"

    def loss(self, logits: Tensor, labels: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | int]:
        """Sum over rows, and R."""
        if labels.shape != logits.shape[:1] or labels.is_floating_point():
            raise self._refuse(labels, logits, "one class index for each row, int64 of shape (R,)")
        return functional.cross_entropy(logits.float(), labels, reduction="sum"), len(labels)
