"""Measurements that a choice of source, network or strategy rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

_UNUSUAL = 0.05
"""A distance that chance exceeds less often is called one."""


@dataclass(frozen=True, kw_only=True)
class DistanceBesideChance:
    """A distance beside what it is when rows are dealt to the domains at random.

    Args:
        value: Of the two domains.
        null_mean: Mean over the deals.
        null_high: What 95 % of the deals do not exceed.
        p_value: (1 + deals of at least ``value``) / (1 + deals), in (0, 1]; small where the domains differ.
        permutations: Number of deals.
    """

    value: float
    null_mean: float
    null_high: float
    p_value: float
    permutations: int

    @property
    def differs(self) -> bool:
        """Whether chance gives so large a distance in at most 5 % of the deals."""
        return self.p_value <= _UNUSUAL

    @property
    def excess(self) -> float:
        """value - null_mean: the distance without what few rows add to it; compares pairs of domains by one kind."""
        return self.value - self.null_mean

    @property
    def effect(self) -> float:
        """excess / (null_high - null_mean): 0 is chance, 1 its upper edge, whatever the kind.

        It says how sure a difference is rather than how large: it grows with the number of rows. Infinite where all
        deals give the same and the value is another.
        """
        reach = self.null_high - self.null_mean
        if reach > 0:
            return self.excess / reach
        return math.copysign(math.inf, self.excess) if self.excess else 0.0


@dataclass(frozen=True, kw_only=True)
class ClassDistance(DistanceBesideChance):
    """Mean over classes of the distance between a class's rows in both domains; dealt anew within classes.

    Args:
        classes: Class -> its distance, the shared classes with two rows or more in each domain.
        between: Mean distance between two of these classes within the source, beside the same rows dealt anew; None for
            a single class.
        skipped: Shared classes with fewer rows than that.
    """

    classes: Mapping[int, float]
    between: DistanceBesideChance | None
    skipped: tuple[int, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The excess over that of ``between``, or None where the source's classes are not told apart.

        Near 1, a class is as far from itself in the other domain as from another class.
        """
        if self.between is None or not self.between.differs:
            return None
        return self.excess / self.between.excess


@dataclass(frozen=True, kw_only=True)
class DomainDistance(DistanceBesideChance):
    """How far two domains are apart.

    Args:
        kind: Key of ``hf_transfer_kit.selection.measures.distances.DISTANCES``.
        rows: Number of rows compared, of the source and of the target.
        by_class: The same within classes; None without labels of both.
    """

    kind: str
    rows: tuple[int, int]
    by_class: ClassDistance | None = None

    @property
    def sentence(self) -> str:
        """The result in words."""
        verdict = "The domains differ" if self.differs else "No difference of the domains is seen"
        words = f"{verdict} ({self.kind}): {_beside_chance(self)}."
        inner = self.by_class
        if inner is None:
            return words
        joint = "Within" if inner.differs == self.differs else "Yet within"
        verdict = "rows differ" if inner.differs else "no difference is seen"
        ratio = "" if inner.ratio is None else f"; {inner.ratio:.2g} x the distance between classes of the source"
        return f"{words} {joint} {len(inner.classes)} shared classes {verdict}: {_beside_chance(inner)}{ratio}."


def _beside_chance(found: DistanceBesideChance) -> str:
    return (
        f"{found.value:.3g}, where rows dealt at random give {found.null_mean:.3g} and rarely more than "
        f"{found.null_high:.3g} (p = {found.p_value:.2g}, {found.permutations} deals)"
    )
