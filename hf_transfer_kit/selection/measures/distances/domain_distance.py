"""How far a source is from a target, beside what chance gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.probe_rows import Features
from hf_transfer_kit.features.row_blocks import holding
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_int
from hf_transfer_kit.selection.measures.distances.chance import beside_chance, dealt
from hf_transfer_kit.selection.measures.distances.domain_rows import DomainRows, comparable_domains
from hf_transfer_kit.selection.measures.distances.registry import DISTANCES
from hf_transfer_kit.selection.measures.distances.within_classes import class_distance
from hf_transfer_kit.values.choosing import DomainDistance

Labels = Sequence[int] | np.ndarray | None


@checked_arguments()
def domain_distance(
    source: Features,
    target: Features,
    *,
    kind: str | Sequence[str] = "mmd",
    source_labels: Labels = None,
    target_labels: Labels = None,
    permutations: int = 100,
    max_rows: int = 1000,
    seed: int = 0,
) -> DomainDistance | dict[str, DomainDistance]:
    """Distance of two domains' features, and whether it is large.

    A distance of two samples is never 0, and each kind has units of its own. So the rows of both are dealt anew at
    random, as often as ``permutations`` says: where the domains are alike, theirs is one deal among others.
    ``p_value`` is the share of deals as large, ``effect`` the distance in units of chance; of several sources the one
    of the least ``excess`` is nearest. Held are a float64 copy of the rows that are compared, another less their mean
    (``"mmd"``, ``"coral"``) or their coordinates (``"frechet"``), and blocks within ``memory_limit``.

    Features are taken as they are, but for ``"proxy_a"``, which standardises them,
    and ``"mmd"``, whose bandwidth follows their scale: the other kinds have no common measure for two networks.

    With labels of both, ``by_class`` compares each class with itself: domains may agree as a whole and exchange their
    classes. Labels cached with features are not read unless they are given.

    Args:
        source: ``cache_features(...)``, or an array or tensor of shape (S, D).
        target: Likewise, (T, D), of the same layer of the same network.
        kind: A key of ``selection.distances.DISTANCES``, or several: ``"mmd"``, ``"mmd_biased"``, ``"proxy_a"``,
            ``"frechet"``, ``"coral"``, ``"sliced_wasserstein"``.
        source_labels: Class of each row, (S,), in one numbering with the target's.
        target_labels: Likewise, (T,).
        permutations: Number of deals, 19 or more, with which p can come down to 0.05.
        max_rows: At most so many rows of each domain, drawn at random, 2 or more. The time of ``"mmd"`` and ``"coral"``
            grows with the square, memory as the rows.
        seed: Of rows, deals, folds and directions.

    Returns:
        One ``DomainDistance`` for one kind; kind -> ``DomainDistance`` for several. ``print(found.sentence)``.

    Raises:
        SettingsError: When a kind is unknown, a number is out of range, or a ``memory_limit`` too little.
        DataError: When a domain has fewer than two rows, values that are not finite, another width than the other; when
            all rows are equal; when labels are given for one domain only, or no class is in both.

    Example:
        >>> found = domain_distance(features, target_features, kind="coral", permutations=19)
        >>> found.p_value
        0.05
    """
    kinds = [kind] if isinstance(kind, str) else list(kind)
    for name in kinds:
        if name not in DISTANCES:
            raise SettingsError(
                f"kind={name!r} is unknown; choose among {', '.join(map(repr, DISTANCES))}."
                f"{did_you_mean(name, DISTANCES)}"
            )
    if not kinds:
        raise SettingsError(f"kind={kind!r} names no distance; choose among {', '.join(map(repr, DISTANCES))}.")
    check_int("domain_distance", "permutations", permutations, low=19)
    check_int("domain_distance", "max_rows", max_rows, low=2)
    domains = comparable_domains(source, target, source_labels, target_labels, max_rows=max_rows, seed=seed)
    with holding(domains[0].nbytes, "one copy of the rows of both domains"):
        found = {name: _tested(name, *domains, permutations=permutations, seed=seed) for name in kinds}
    return found[kind] if isinstance(kind, str) else found


def _tested(
    kind: str, rows: np.ndarray, source: DomainRows, target: DomainRows, *, permutations: int, seed: int
) -> DomainDistance:
    distance = DISTANCES[kind]
    sizes = len(source.features), len(target.features)
    by_class = None
    if source.labels is not None:
        by_class = class_distance(distance, source, target, permutations=permutations, seed=seed)
    deals = dealt(*sizes, permutations, np.random.default_rng(seed))
    values = distance.measure(rows, deals, seed)
    return DomainDistance(kind=kind, rows=sizes, by_class=by_class, **beside_chance(values))
