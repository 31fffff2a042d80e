"""One of C classes for each position of each row."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.data.collating import NOT_LABELLED
from hf_transfer_kit.multitask.heads.head import SEQUENCE, Head


class TokenClassificationHead(Head):
    """Cross entropy over labelled positions; labels are int64 of shape (R, up to T), -100 where there is none.

    The mean is over labelled positions, as in transformers: a long row counts more than a short one.
    """

    kind = "token_classification"
    reads = SEQUENCE
    mapping = "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING"

    def loss(self, logits: Tensor, labels: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | int]:
        """Sum over labelled positions, and their number."""
        missing = logits.shape[1] - labels.shape[-1]
        if labels.dim() != 2 or len(labels) != len(logits) or missing < 0 or labels.is_floating_point():
            raise self._refuse(labels, logits, "a class for each position, int64 of shape (R, T), -100 for none")
        labels = functional.pad(labels, (0, missing), value=NOT_LABELLED)  # other tasks' rows may be longer
        total = functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=NOT_LABELLED, reduction="sum"
        )
        return total, (labels != NOT_LABELLED).sum()
