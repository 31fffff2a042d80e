"""What every head is: a linear layer over the trunk's features, and the loss of its kind of labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from hf_transfer_kit.backbones.precision import called_in_float32
from hf_transfer_kit.errors import DataError

POOLED = "pooled"
"""A head that reads features (R, D), one for each row."""
SEQUENCE = "sequence"
"""A head that reads features (R, T, D), one for each position."""


class Head(nn.Module):
    """The layer that turns features of one task's rows into logits.

    Args:
        width: Number of features D.
        num_labels: Number of outputs C.
        dropout: Probability in [0, 1) with which a feature is dropped in training.

    Attributes:
        kind: The task type, as it stands in a configuration.
        reads: ``"pooled"``: features (R, D), one row for each row; ``"sequence"``: features (R, T, D).
        mapping: Name of transformers' mapping of the classes that have such a head; None where it is the classifier
            of the modality.
        problem_type: transformers' word for the loss, None where its class knows but one.
        default_labels: Number of outputs where a configuration names none; None where it must.
        options: Further settings that a task of this kind may have, with their defaults; arguments of the class.

    Example:
        >>> class Cold(Head):
        ...     kind = "cold"
        ...     def forward(self, features):
        ...         return super().forward(features) / 10
        >>> Cold(8, 3)(torch.zeros(2, 8)).shape
        torch.Size([2, 3])
    """

    kind: ClassVar[str]
    reads: ClassVar[str] = POOLED
    mapping: ClassVar[str | None] = None
    problem_type: ClassVar[str | None] = None
    default_labels: ClassVar[int | None] = None
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, width: int, num_labels: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, num_labels)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (R, C) of features (R, D), or (R, T, C) of (R, T, D); float32 also inside a network of half precision.

        Args:
            features: Of the task's rows.
            lengths: Number of positions of each row that are no padding, int64 of shape (R,); None where all are.
        """
        return called_in_float32(self.linear, self.dropout(features))

    def plain_state(self) -> dict[str, Tensor]:
        """Weights of the linear layer that gives the same logits by itself."""
        return self.linear.state_dict()

    def load_plain(self, state: dict[str, Tensor]) -> None:
        """Takes the weights of such a layer."""
        self.linear.load_state_dict(state)

    def loss(self, logits: Tensor, labels: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | int]:
        """Sum of the losses of what is labelled, in float32, and how much that is: the mean is their quotient.

        Args:
            logits: As ``forward`` gives them.
            labels: Of the same rows.
            lengths: As ``forward`` has them; only sequences ask for them.

        Raises:
            DataError: When the labels' shape does not fit.
        """
        raise NotImplementedError

    @classmethod
    def wanted(cls, option: str, num_labels: int) -> tuple[str, Callable[[Any], bool]]:
        """What an option must be, in words, and whether a value is that: a number above 0."""
        return (
            "a number above 0",
            lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf,
        )

    def _refuse(self, labels: Tensor, logits: Tensor, wanted: str) -> DataError:
        return DataError(
            f"Labels of a {self.kind} task must be {wanted}, but they have the shape {tuple(labels.shape)} and dtype "
            f"{labels.dtype} for logits of shape {tuple(logits.shape)}. Check the task's label column and its "
            "num_labels."
        )


def mean_of_known(values: Tensor, known: Tensor) -> Tensor:
    """Mean of each row's values where ``known``, 0 for a row of which nothing is; (R, C) and (R, C) give (R,)."""
    return (values * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
