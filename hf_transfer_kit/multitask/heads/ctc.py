"""A sequence of symbols for each row, shorter than its positions and not aligned with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.multitask.heads.head import SEQUENCE, Head


class CTCHead(Head):
    """Connectionist temporal classification (Graves et al. 2006).

    Labels are symbols, int64 of shape (R, S), padded with -100 (any negative number). Each row's loss is divided by
    the number of its symbols; a row with more symbols than its positions can hold counts as 0.

    Args:
        width: Number of features D.
        num_labels: Number of symbols C, the blank among them.
        dropout: Probability in [0, 1) with which a feature is dropped in training.
        blank: Index of the blank: the tokenizer's padding token.
    """

    kind = "ctc"
    reads = SEQUENCE
    mapping = "MODEL_FOR_CTC_MAPPING"
    options: ClassVar[dict[str, Any]] = {"blank": 0}

    def __init__(self, width: int, num_labels: int, *, dropout: float = 0.0, blank: int = 0) -> None:
        super().__init__(width, num_labels, dropout=dropout)
        self.blank = blank

    @classmethod
    def wanted(cls, option: str, num_labels: int) -> tuple[str, Callable[[Any], bool]]:
        """An index among the symbols."""
        return (
            f"an index from 0 to {num_labels - 1}",
            lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < num_labels,
        )

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (R, T, C), -100 where a row is padding, as Trainer pads: nothing is spelled there."""
        logits = super().forward(features)
        if lengths is None:
            return logits
        padding = torch.arange(logits.shape[1], device=logits.device) >= lengths[:, None]  # (R, T)
        return logits.masked_fill(padding[..., None], -100.0)

    def loss(self, logits: Tensor, labels: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | int]:
        """Sum over rows, and R."""
        if labels.dim() != 2 or len(labels) != len(logits) or labels.is_floating_point():
            raise self._refuse(labels, logits, "symbols, int64 of shape (R, S), padded with -100")
        if lengths is None:
            lengths = torch.full((len(logits),), logits.shape[1], dtype=torch.long, device=logits.device)
        each, sizes = transcript_losses(logits, labels, lengths, blank=self.blank)
        return (each / sizes.clamp(min=1)).sum(), len(labels)


def transcript_losses(logits: Tensor, labels: Tensor, lengths: Tensor, *, blank: int = 0) -> tuple[Tensor, Tensor]:
    """Each row's negative log-likelihood of its transcript, in float32, and its number of symbols, both of shape (R,).

    A row with more symbols than its positions can hold counts as 0.

    Args:
        logits: Of shape (R, T, C).
        labels: Symbols, int64 of shape (R, S), padded with any negative number.
        lengths: Positions of each row that are no padding, int64 of shape (R,).
        blank: Index of the blank.

    Example:
        >>> each, sizes = transcript_losses(torch.zeros(1, 2, 3), torch.tensor([[1]]), torch.tensor([2]))
        >>> round(each.exp().item(), 3), sizes.item()  # three of nine paths spell it
        (3.0, 1)
    """
    present = labels >= 0
    sizes = present.sum(dim=1)  # (R,)
    logs = functional.log_softmax(logits, dim=-1, dtype=torch.float32).transpose(0, 1)  # (T, R, C)
    # cuDNN's version knows neither every blank nor every length.
    with torch.backends.cudnn.flags(enabled=False):
        each = functional.ctc_loss(
            logs, labels[present], lengths, sizes, blank=blank, reduction="none", zero_infinity=True
        )
    return each, sizes
