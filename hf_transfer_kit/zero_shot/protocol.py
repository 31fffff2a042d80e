"""Which classes are seen in training, and proof that the others are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.near_names import did_you_mean


@dataclass(frozen=True)
class HoldOut:
    """Classes by whether training may show them.

    Args:
        seen: Names, at least one.
        unseen: Names, at least two, none of them seen.

    Raises:
        SettingsError: When there are too few of a kind, or a class is of both.
    """

    seen: tuple[str, ...]
    unseen: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.seen or len(self.unseen) < 2:
            raise SettingsError(
                f"{len(self.seen)} seen and {len(self.unseen)} unseen classes: give at least one seen, and two unseen "
                "ones to be told apart."
            )
        if both := [name for name in self.seen if name in self.unseen]:
            raise SettingsError(f"{', '.join(both)} cannot be both seen and unseen.")

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, seen ones first."""
        return (*self.seen, *self.unseen)

    def check_no_leak(self, names: Iterable[str]) -> None:
        """Refuses training rows of unseen classes.

        Args:
            names: Class of each training row.

        Raises:
            DataError: With the classes and how many rows they have.
        """
        names = list(names)
        leaked = {name: count for name in self.unseen if (count := names.count(name))}
        if leaked:
            rows = ", ".join(f"{name} ({count} rows)" for name, count in leaked.items())
            raise DataError(
                f"Training rows show classes that must stay unseen: {rows}. Drop these rows, or count the classes as "
                "seen; otherwise nothing is learned about classes never seen."
            )


def hold_out(classes: Sequence[str], unseen: Sequence[str]) -> HoldOut:
    """All classes but ``unseen`` are seen.

    Raises:
        SettingsError: When an unseen one is no class, or is named twice.

    Example:
        >>> hold_out(["horse", "zebra", "gull", "wasp"], ["zebra", "wasp"])
        HoldOut(seen=('horse', 'gull'), unseen=('zebra', 'wasp'))
    """
    if unknown := [name for name in unseen if name not in classes]:
        raise SettingsError(
            f"{', '.join(unknown)} is no class; the classes are {', '.join(classes)}."
            f"{did_you_mean(unknown[0], classes)}"
        )
    if twice := [name for place, name in enumerate(unseen) if name in unseen[:place]]:
        raise SettingsError(f"{twice[0]} is named twice among the unseen classes. Leave one out.")
    return HoldOut(tuple(name for name in classes if name not in unseen), tuple(unseen))


def random_hold_outs(classes: Sequence[str], unseen: int, *, count: int, seed: int = 0) -> tuple[HoldOut, ...]:
    """Different random splits, each with ``unseen`` unseen classes; all there are where ``count`` is more.

    Args:
        classes: All classes.
        unseen: How many are not to be seen, at least 2 and fewer than there are classes.
        count: How many splits, at least 1.
        seed: Of the draw.

    Raises:
        SettingsError: When a number is out of range.

    Example:
        >>> splits = random_hold_outs(table.classes, 2, count=3, seed=0)
        >>> len(splits), len(splits[0].seen), len(splits[0].unseen)
        (3, 4, 2)
    """
    if not 2 <= unseen < len(classes) or count < 1:
        raise SettingsError(
            f"{unseen} unseen of {len(classes)} classes, {count} splits: give at least 2 unseen classes, fewer than "
            "all, and at least one split."
        )
    if comb(len(classes), unseen) <= count:
        return tuple(hold_out(classes, chosen) for chosen in combinations(classes, unseen))
    generator = np.random.default_rng(seed)
    found: dict[frozenset[int], tuple[str, ...]] = {}
    while len(found) < count:
        places = np.sort(generator.choice(len(classes), size=unseen, replace=False))
        found.setdefault(frozenset(places.tolist()), tuple(classes[place] for place in places))
    return tuple(hold_out(classes, chosen) for chosen in found.values())
