"""One or several numbers for each row."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.multitask.heads.head import Head


class RegressionHead(Head):
    """Squared error, the mean over numbers; labels are float32 of shape (R, C), or (R,) where C is 1."""

    kind = "regression"
    problem_type = "regression"
    default_labels = 1

    def loss(self, logits: Tensor, labels: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | int]:
        """Sum over rows, and R."""
        if labels.dim() == 1 and self.num_labels == 1:
            labels = labels[:, None]
        if labels.shape != logits.shape:
            raise self._refuse(labels, logits, "numbers, float32 of shape (R, C), or (R,) with one number a row")
        each = functional.mse_loss(logits.float(), labels.float(), reduction="none")  # (R, C)
        return each.mean(dim=1).sum(), len(labels)
