"""Prototypes: from attributes to where a class's features should lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.options import check_number
from hf_transfer_kit.zero_shot.methods.method import ZeroShotMethod, random_map, unit_rows


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
    (hubs; Zhang et al. 2017, CVPR). Trainer descends the cross entropy of the cosines over ``temperature``.

    Args:
        penalty: Of the regression, above 0.
        temperature: Above 0; ``fit`` has no use for it.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "prototype"
    summary: ClassVar[str] = "where a class's features should lie, by ridge regression from its attributes"
    tries: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (0.01, 0.1, 1.0, 10.0, 100.0)}

    def __init__(
        self, width: int, attributes: int, seen: int, *, penalty: float = 0.1, temperature: float = 0.1
    ) -> None:
        super().__init__(width, attributes, seen)
        self.penalty = check_number(self.name, "penalty", penalty, low=0, above=True)
        self.temperature = check_number(self.name, "temperature", temperature, low=0, above=True)
        self.weight = random_map(attributes, width)

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Solves the regression on the classes' means."""
        present = labels.unique()
        means = torch.stack([rows[labels == index].mean(dim=0) for index in present])  # (S, D)
        directions = self.directions(signatures)[present].to(rows)
        self.weight.copy_(ridge_map(directions, unit_rows(means), penalty=self.penalty))

    def prototypes(self, signatures: Tensor) -> Tensor:
        """Of any classes, (C, D), of length 1."""
        return unit_rows(self.directions(signatures) @ self.weight)

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """cos(x, prototype of the class)."""
        return self.rows(features) @ self.prototypes(signatures).T

    def contributions(self, features: Tensor, signatures: Tensor) -> Tensor:
        """s_a (W x)_a / |W^T s|."""
        directions = self.directions(signatures)
        lengths = (directions @ self.weight).norm(dim=1, keepdim=True).clamp(min=1e-12)
        return directions * (self.rows(features) @ self.weight.T) / lengths

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy among the seen classes."""
        return functional.cross_entropy(self.scores(features, self.signatures) / self.temperature, labels)
