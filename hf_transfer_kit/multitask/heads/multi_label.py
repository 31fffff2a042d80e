"""Any number of C classes for each row."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.multitask.heads.head import Head, mean_of_known


class MultiLabelHead(Head):
    """Binary cross entropy, the mean over a row's known classes; labels are 0 or 1, float32 of shape (R, C).

    NaN where it is not known whether a class holds: nothing is learned there.
    """

    kind = "multi_label"
    problem_type = "multi_label_classification"

    def loss(self, logits: Tensor, labels: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | int]:
        """Sum over rows, and R."""
        if labels.shape != logits.shape:
            raise self._refuse(labels, logits, "0 or 1 for each row and class, float32 of shape (R, C)")
        known = ~labels.isnan()
        whole = labels.float().nan_to_num()
        each = functional.binary_cross_entropy_with_logits(logits.float(), whole, reduction="none")  # (R, C)
        return mean_of_known(each, known).sum(), len(labels)
