"""Distances between a class's rows in one domain and in the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import cast

import numpy as np

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.selection.measures.distances.chance import beside_chance, dealt
from hf_transfer_kit.selection.measures.distances.domain_rows import DomainRows
from hf_transfer_kit.selection.measures.distances.registry import Distance
from hf_transfer_kit.values.choosing import ClassDistance, DistanceBesideChance

_PAIRS = 45
"""At most so many pairs of classes give the distance between classes: all pairs of ten."""
_PAIR_DEALS = 19
"""Deals of each pair, the fewest with which p can come down to 0.05."""


def class_distance(
    distance: Distance, source: DomainRows, target: DomainRows, *, permutations: int, seed: int
) -> ClassDistance:
    """Mean over the shared classes of the distance between a class's rows in both domains.

    Classes count equally. A deal deals each class's rows anew, so that how frequent classes are does not matter.

    Raises:
        DataError: When no class is in both domains with two rows or more.
    """
    classes, skipped = shared_classes(cast(np.ndarray, source.labels), cast(np.ndarray, target.labels))
    generator = np.random.default_rng(seed)
    values = {}
    for index in classes:
        own, other = source.of_class(index), target.of_class(index)
        deals = dealt(len(own), len(other), permutations, generator)
        values[index] = distance.measure(np.concatenate([own, other]), deals, seed)
    return ClassDistance(
        classes={index: float(found[0]) for index, found in values.items()},
        between=_between_classes(distance, source, classes, generator, seed),
        skipped=skipped,
        **beside_chance(np.mean(list(values.values()), axis=0)),
    )


def shared_classes(own: np.ndarray, other: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Classes of both domains: those with two rows or more in each, and the rest.

    Raises:
        DataError: When there are none of the former.
    """
    counts = [Counter(found.tolist()) for found in (own, other)]
    shared = sorted(counts[0].keys() & counts[1].keys())
    if not shared:
        raise DataError(
            f"The source has the classes {_listed(counts[0])} and the target {_listed(counts[1])}, none in common, so "
            "there is no distance within classes. Number the classes of both alike, or leave both labels out."
        )
    enough = tuple(index for index in shared if min(counts[0][index], counts[1][index]) >= 2)
    if not enough:
        raise DataError(
            f"The domains share the classes {_listed(shared)}, but none has two rows or more in each, so there is no "
            "distance within classes. Give more rows, raise max_rows, or leave both labels out."
        )
    return enough, tuple(index for index in shared if index not in enough)


def _between_classes(
    distance: Distance, source: DomainRows, classes: tuple[int, ...], generator: np.random.Generator, seed: int
) -> DistanceBesideChance | None:
    pairs = list(combinations(classes, 2))
    if not pairs:
        return None
    if len(pairs) > _PAIRS:
        pairs = [pairs[place] for place in generator.choice(len(pairs), _PAIRS, replace=False)]
    found = []
    for first, second in pairs:
        own, other = source.of_class(first), source.of_class(second)
        deals = dealt(len(own), len(other), _PAIR_DEALS, generator)
        found.append(distance.measure(np.concatenate([own, other]), deals, seed))
    return DistanceBesideChance(**beside_chance(np.mean(found, axis=0)))


def _listed(classes: Iterable[int]) -> str:
    """The first ten."""
    names = [str(index) for index in sorted(classes)]
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
