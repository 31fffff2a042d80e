"""A bilinear map learned so that a row's own class scores above the others: ALE and DeViSE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.options import check_int, check_number
from hf_transfer_kit.zero_shot.methods.bilinear import Bilinear
from hf_transfer_kit.zero_shot.methods.method import unit_rows


def hinge_weights(scores: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """Which classes come too near a row's own, (B, S): 1 where margin + s_y > s_own, 0 for the own class."""
    own = scores.gather(1, labels[:, None])
    return (margin + scores > own).to(scores.dtype).scatter(1, labels[:, None], 0.0)


def warp_weights(scores: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """The same, each row's times l(r) / r, with r violations and l(r) = sum_{i<=r} 1/i (Weston et al. 2010).

    A row whose class is near the top counts almost as much as one whose class is far down.
    """
    violating = hinge_weights(scores, labels, margin=margin)
    ranks = violating.sum(dim=1)
    harmonic = (1 / torch.arange(1, scores.shape[1] + 1, device=scores.device)).cumsum(0)
    steps = torch.cat([harmonic.new_zeros(1), harmonic]).to(scores)
    return violating * (steps[ranks.long()] / ranks.clamp(min=1))[:, None]


def ranking_loss(scores: Tensor, labels: Tensor, weights: Tensor, *, margin: float) -> Tensor:
    """Mean over rows of sum_y w_y (margin + s_y - s_own).

    Args:
        scores: (B, S).
        labels: int64 (B,).
        weights: w, (B, S), 0 for the own class.
        margin: Above 0.
    """
    own = scores.gather(1, labels[:, None])
    return (weights * (margin + scores - own)).sum(dim=1).mean()


def ranking_gradient(features: Tensor, signatures: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Gradient of ``ranking_loss`` by W, scores being x^T W s, (D, A).

    Args:
        features: (B, D).
        signatures: (S, A).
        labels: int64 (B,).
        weights: w, (B, S), 0 for the own class.
    """
    pull = weights.clone()
    pull.scatter_(1, labels[:, None], -weights.sum(dim=1, keepdim=True))
    return features.T @ (pull @ signatures) / len(features)


class _Ranking(Bilinear):
    """What both share: ``fit`` is plain stochastic gradient descent from zero, rows in an order drawn from ``seed``."""

    tries: ClassVar[Mapping[str, Sequence[Any]]] = {"learning_rate": (0.001, 0.01, 0.1, 1.0)}

    def __init__(
        self,
        width: int,
        attributes: int,
        seen: int,
        *,
        margin: float = 0.1,
        learning_rate: float = 0.1,
        epochs: int = 20,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(width, attributes, seen)
        self.margin = check_number(self.name, "margin", margin, low=0, above=True)
        self.learning_rate = check_number(self.name, "learning_rate", learning_rate, low=0, above=True)
        self.epochs = check_int(self.name, "epochs", epochs, low=1)
        self.batch_size = check_int(self.name, "batch_size", batch_size, low=1)
        self.seed = check_int(self.name, "seed", seed, low=0)

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Descends."""
        classes = unit_rows(self.alike(signatures))
        weight = rows.new_zeros(self.weight.shape)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            for batch in torch.randperm(len(rows), generator=generator).split(self.batch_size):
                own = labels[batch]
                weights = self.weigh(rows[batch] @ weight @ classes.T, own)
                weight -= self.learning_rate * ranking_gradient(rows[batch], classes, own, weights)
        self.weight.copy_(weight)

    def weigh(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Weight of each class against a row's own, (B, S)."""
        raise NotImplementedError

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The ranking loss, with weights that are constants of the step."""
        scores = self.scores(features, self.signatures)
        return ranking_loss(scores, labels, self.weigh(scores.detach(), labels), margin=self.margin)


class DeViSE(_Ranking):
    """Every class that comes too near counts alike (Frome et al. 2013, NeurIPS).

    Args:
        margin: By how much the own class must be ahead, above 0; the paper's 0.1.
        learning_rate: Of ``fit``, above 0, like the next three.
        epochs: At least 1.
        batch_size: At least 1.
        seed: Of the order of rows.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "devise"
    summary: ClassVar[str] = "a bilinear map that ranks the own class first, by a hinge"

    def weigh(self, scores: Tensor, labels: Tensor) -> Tensor:
        """1 for each class within the margin."""
        return hinge_weights(scores, labels, margin=self.margin)


class ALE(_Ranking):
    """Classes that come too near count by rank (Akata et al. 2013, CVPR; 2016, TPAMI).

    Args:
        margin: By how much the own class must be ahead, above 0.
        learning_rate: Of ``fit``, above 0, like the next three.
        epochs: At least 1.
        batch_size: At least 1.
        seed: Of the order of rows.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "ale"
    summary: ClassVar[str] = "a bilinear map that ranks the own class first, weighed by rank"

    def weigh(self, scores: Tensor, labels: Tensor) -> Tensor:
        """WARP's."""
        return warp_weights(scores, labels, margin=self.margin)
