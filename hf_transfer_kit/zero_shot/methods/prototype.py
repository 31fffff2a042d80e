"""Prototypes: from attributes to where a class's features should lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.options import number
from hf_transfer_kit.zero_shot.methods.method import Standardised, ZeroShotMethod, unit_rows


def ridge_map(inputs: Tensor, outputs: Tensor, *, penalty: float) -> Tensor:
    """(I^T I + penalty E)^-1 I^T O in its dual form I^T (I I^T + penalty E)^-1 O, (A, D).

    Args:
        inputs: I, (S, A), few rows.
        outputs: O, (S, D).
        penalty: Above 0.
    """
    kernel = inputs @ inputs.T + penalty * torch.eye(len(inputs), dtype=inputs.dtype)
    return inputs.T @ torch.linalg.solve(kernel, outputs)


class Prototype(ZeroShotMethod):
    """Class means of the features, predicted from attributes by ridge regression; scores are cosines to them.

    Mapping attributes into the space of features, not the other way round, keeps few rows from being near to all
    (hubs; Zhang et al. 2017, CVPR).

    Args:
        penalty: Of the regression, above 0.

    Raises:
        SettingsError: When it is out of range.
    """

    name: ClassVar[str] = "prototype"
    summary: ClassVar[str] = "where a class's features should lie, by ridge regression from its attributes"
    tries: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (0.01, 0.1, 1.0, 10.0)}

    def __init__(self, *, penalty: float = 0.1) -> None:
        self.penalty = number(self.name, "penalty", penalty, low=0, above=True)

    def fit(self, features: Tensor, labels: Tensor, signatures: Tensor) -> Prototype:
        """Solves the regression on the classes' means."""
        self.standardised = Standardised(features)
        rows = self.standardised(features)
        present = labels.unique()
        means = torch.stack([rows[labels == index].mean(dim=0) for index in present])  # (S, D)
        self.centre = signatures[present].mean(dim=0)
        self.map = ridge_map(unit_rows(signatures[present] - self.centre), unit_rows(means), penalty=self.penalty)
        return self

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """cos(x, prototype of the class)."""
        return self.standardised(features) @ self.prototypes(signatures).T

    def prototypes(self, signatures: Tensor) -> Tensor:
        """Of any classes, (C, D), of length 1."""
        return unit_rows(unit_rows(signatures - self.centre) @ self.map)
