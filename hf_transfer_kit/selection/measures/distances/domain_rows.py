"""Features of two domains that can be compared, and their classes where both are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_transfer_kit.adaptation.alignment.rows import joined_domains
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.probe_rows import Features, feature_rows, labelled_rows

_LARGEST = 1e70
"""Fourth powers of larger numbers leave float64."""


@dataclass(frozen=True, eq=False)
class DomainRows:
    """Checked rows of one domain.

    Args:
        features: (rows, D), float64, part of an array of both domains' rows.
        labels: (rows,), int64; None where they are not known.
    """

    features: np.ndarray
    labels: np.ndarray | None

    def of_class(self, index: int) -> np.ndarray:
        """Features of the rows of a class."""
        return self.features[self.labels == index]


def comparable_domains(
    source: Features,
    target: Features,
    source_labels: Sequence[int] | np.ndarray | None,
    target_labels: Sequence[int] | np.ndarray | None,
    *,
    max_rows: int,
    seed: int,
) -> tuple[np.ndarray, DomainRows, DomainRows]:
    """At most ``max_rows`` rows of each, drawn at random: those of both, the source first, and each domain's.

    Raises:
        DataError: When the domains do not fit each other, or there is nothing to compare.
    """
    if (source_labels is None) != (target_labels is None):
        given, missing = ("source", "target") if target_labels is None else ("target", "source")
        raise DataError(
            f"{given}_labels are given and {missing}_labels are not, but distances within classes need both. Give both "
            "(cached features have them as features.labels), or neither for the distance of all rows."
        )
    generator = np.random.default_rng(seed)
    own, own_labels = _drawn("source", source, source_labels, max_rows, generator)
    other, other_labels = _drawn("target", target, target_labels, max_rows, generator)
    rows, sources = joined_domains(own, other)
    _check_values(rows)
    return rows, DomainRows(rows[:sources], own_labels), DomainRows(rows[sources:], other_labels)


def _drawn(
    name: str,
    features: Features,
    labels: Sequence[int] | np.ndarray | None,
    max_rows: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        array = feature_rows(features)
    except DataError as error:
        raise DataError(f"Of the {name}: {error}") from error
    found = None if labels is None else labelled_rows(array, labels, name=f"the {name}").labels
    if len(array) <= max_rows:
        return array, found
    rows = np.sort(generator.choice(len(array), max_rows, replace=False))
    return array[rows], None if found is None else found[rows]


def _check_values(rows: np.ndarray) -> None:
    low, high = rows.min(0), rows.max(0)
    largest = max(-low.min(initial=0.0), high.max(initial=0.0))
    if largest > _LARGEST:
        raise DataError(f"Features are as large as {largest:.1g}, too large to be squared. Divide both domains alike.")
    if not (high - low > 1e-12 * largest).any():
        raise DataError(
            f"All {len(rows)} rows of both domains have the same features, so there is nothing to compare. "
            "The network does not tell rows apart: look at its weights and at its inputs."
        )
