"""What every method is: learned on seen classes, it scores any class that has a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor


class ZeroShotMethod:
    """Scores of classes for features, from the classes' signatures.

    A subclass sets ``name``, ``summary`` and ``tries``, takes keyword-only options with defaults, and implements
    ``fit`` and ``scores``. Everything is float64.

    Attributes:
        name: Key in ``METHODS``.
        summary: One line for people.
        tries: Option -> values among which ``choose_options`` looks.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    tries: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def fit(self, features: Tensor, labels: Tensor, signatures: Tensor) -> ZeroShotMethod:
        """Learns from rows of seen classes.

        Args:
            features: (N, D).
            labels: int64 (N,), rows of ``signatures``.
            signatures: (S, A) of the seen classes.

        Returns:
            Itself.
        """
        raise NotImplementedError

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """How well each class fits each row, (M, C); larger is better.

        Args:
            features: (M, D).
            signatures: (C, A) of any classes.
        """
        raise NotImplementedError


def unit_rows(matrix: Tensor) -> Tensor:
    """Rows of length 1; those of zeros stay."""
    return matrix / matrix.norm(dim=1, keepdim=True).clamp(min=1e-12)


class Standardised:
    """Features with mean 0 and deviation 1 on the rows given first, then of length 1.

    Args:
        features: (N, D).
    """

    def __init__(self, features: Tensor) -> None:
        self.mean = features.mean(dim=0)
        self.deviation = features.std(dim=0, correction=0).clamp(min=1e-6)

    def __call__(self, features: Tensor) -> Tensor:
        """The same transformation of any rows, (M, D)."""
        return unit_rows((features.to(torch.float64) - self.mean) / self.deviation)
