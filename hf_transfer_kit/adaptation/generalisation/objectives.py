"""Methods for several sources: how much each one's loss counts, and what is asked of their features."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, cast

import torch
from torch import Tensor

from hf_transfer_kit.adaptation.objectives.coral import covariance_distance
from hf_transfer_kit.adaptation.objectives.objective import InFloat32
from hf_transfer_kit.backbones.precision import in_float32, without_autocast
from hf_transfer_kit.options import check_number


@dataclass(frozen=True)
class SourcesBatch:
    """One step's view of all sources, with gradients; ``B`` rows, ``K`` sources.

    Example:
        >>> domains = torch.tensor([0, 0, 1, 1])
        >>> batch = SourcesBatch(torch.randn(4, 8), losses=torch.tensor([1.0, 2.0, 3.0, 4.0]), domains=domains, count=2)
        >>> batch.sums()
        (tensor([3., 7.]), tensor([2., 2.]))
    """

    features: Tensor
    """Pooled features, (B, D)."""
    losses: Tensor
    """Cross entropy of each row, (B,), float32 or wider."""
    domains: Tensor
    """Which source each row is of, int64 (B,)."""
    count: int
    """K."""

    def sums(self) -> tuple[Tensor, Tensor]:
        """Sum of the losses of each source's rows, (K,), and how many rows it has, (K,)."""
        zeros = self.losses.new_zeros(self.count)
        rows = zeros.index_add(0, self.domains, torch.ones_like(self.losses))
        return zeros.index_add(0, self.domains, self.losses), rows


def raised_weights(weights: Tensor, losses: Tensor, eta: float) -> Tensor:
    """q_k exp(eta L_k) / sum_j q_j exp(eta L_j): a step of exponentiated gradient ascent (Sagawa et al. 2020).

    Args:
        weights: q, (K,), positive, with the sum 1.
        losses: L, (K,).
        eta: Step size, >= 0.
    """
    return torch.softmax(weights.log() + eta * losses, dim=0)


def moment_distance(one: Tensor, other: Tensor) -> Tensor:
    """|m_1 - m_2|^2 / D + |C_1 - C_2|_F^2 / D^2, m and C mean and covariance of the rows.

    The form of Gulrajani and Lopez-Paz 2021 ("DomainBed"), which adds the means to the covariances of Sun and Saenko
    2016.

    Args:
        one: (N, D).
        other: (M, D).

    Returns:
        One element >= 0.
    """
    return (one.mean(0) - other.mean(0)).square().mean() + 4 * covariance_distance(one, other)


class SourcesObjective(InFloat32):
    """A method: weights of the sources' losses, and terms beside them.

    Args:
        count: K, how many sources.

    Example:
        >>> class Worst(SourcesObjective):
        ...     name, summary = "worst", "the worst source alone"
        ...     def weights(self, sums, rows):
        ...         means = sums / rows.clamp_min(1)
        ...         return (means == means.max()).to(means.dtype)
        >>> domains = torch.tensor([0, 0, 1, 1])
        >>> batch = SourcesBatch(torch.randn(4, 8), losses=torch.tensor([1.0, 2.0, 3.0, 4.0]), domains=domains, count=2)
        >>> value, logged = Worst(count=2).loss(batch)
        >>> float(value)
        3.5
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self, *, count: int) -> None:
        super().__init__()
        self.count = count

    def loss(self, batch: SourcesBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """What to minimise, and named scalars to log: computed in float32, outside autocast.

        Sources that the batch lacks do not count.
        """
        with without_autocast(batch.features.device):
            sums, rows = batch.sums()
            weights = self.weights(sums.detach(), rows) * (rows > 0)
            value = (weights / weights.sum().clamp_min(1e-12) * sums / rows.clamp_min(1)).sum()
            terms = self.terms(batch)
        return sum(terms.values(), value), {"class_loss": value, **terms, **self.watched()}

    def weights(self, sums: Tensor, rows: Tensor) -> Tensor:
        """How much each source's mean loss counts, (K,): all alike by default.

        Args:
            sums: Of the losses of each source's rows, (K,), without gradient.
            rows: How many each has, (K,).
        """
        return torch.ones_like(sums)

    def terms(self, batch: SourcesBatch) -> dict[str, Tensor]:
        """Named 0-dim losses to add; none by default."""
        return {}

    def watched(self) -> dict[str, Tensor]:
        """Named 0-dim values worth logging beside."""
        return {}


class Joint(SourcesObjective):
    """The mean of the sources' cross entropies, and nothing else.

    With as many rows of each source it is empirical risk minimisation on their union, the baseline that Gulrajani and
    Lopez-Paz 2021 ("In search of lost domain generalization") found hard to beat.
    """

    name = "joint"
    summary = "trained on all sources, each counting alike"


class GroupDRO(SourcesObjective):
    """Distributionally robust optimisation: the source with the largest loss counts most (Sagawa et al. 2020).

    The weights move at each forward in training; they are saved with the model, so that a resumed run goes on with
    them.

    Args:
        count: K, how many sources.
        eta: Step size of the weights (``eta_q``), >= 0; at 0 it is ``joint``.

    Raises:
        SettingsError: When ``eta`` is out of range.
    """

    name = "group_dro"
    summary = "the source with the largest loss counts most"

    shares: Tensor

    def __init__(self, *, count: int, eta: float = 0.01) -> None:
        super().__init__(count=count)
        self.eta = check_number(self.name, "eta", eta, low=0)
        self.register_buffer("shares", torch.full((count,), 1.0 / count))

    def weights(self, sums: Tensor, rows: Tensor) -> Tensor:
        """The weights after one step."""
        if self.training:
            self.shares.copy_(raised_weights(self.shares, sums / rows.clamp_min(1), self.eta))
        return self.shares.clone()

    def watched(self) -> dict[str, Tensor]:
        """``largest_share``: the largest weight, in [1 / K, 1]."""
        return {"largest_share": self.shares.max()}


class SourcesCORAL(SourcesObjective):
    """Equal means and covariances of the features of every two sources (``moment_distance``), a mean over the pairs.

    Args:
        count: K, how many sources; of one source there is no pair, and nothing is added.
        weight: Of the term, >= 0.

    Raises:
        SettingsError: When ``weight`` is out of range.
    """

    name = "coral"
    summary = "equal means and covariances of the sources' features"

    def __init__(self, *, count: int, weight: float = 1.0) -> None:
        super().__init__(count=count)
        self.weight = check_number(self.name, "weight", weight, low=0)

    def terms(self, batch: SourcesBatch) -> dict[str, Tensor]:
        """``coral_loss``: mean distance of two sources that have rows in the batch, times the weight."""
        features = in_float32(batch.features)
        parts = [features[batch.domains == source] for source in range(batch.count)]
        pairs = list(combinations([part for part in parts if len(part)], 2))
        if not pairs:
            return {}
        total = cast(Tensor, sum(moment_distance(*pair) for pair in pairs))
        return {"coral_loss": self.weight * total / len(pairs)}


SOURCES_OBJECTIVES: dict[str, type[SourcesObjective]] = {o.name: o for o in (Joint, GroupDRO, SourcesCORAL)}
"""Name -> method for several sources."""
