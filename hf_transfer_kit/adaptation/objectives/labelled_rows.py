"""Cross entropy of rows of which not all have a label."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.data.labels import NO_LABEL


def labelled_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over all rows of cross entropy, rows without a label counting 0.

    Args:
        logits: (N, C).
        labels: int64 (N,), ``NO_LABEL`` for none.

    Returns:
        One element >= 0.
    """
    return functional.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="sum") / max(1, len(labels))
