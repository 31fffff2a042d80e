"""Which classes rows show, and whether training may see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.logs import get_logger

logger = get_logger(__name__)


def class_names(labels: Sequence[Any], classes: Sequence[str]) -> list[str]:
    """Name of each row's class.

    Args:
        labels: Names, or places among ``classes`` as whole numbers of any library.
        classes: All classes.

    Raises:
        DataError: When a number is no place.
    """
    values = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    names = []
    for row, value in enumerate(values):
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            if not 0 <= value < len(classes):
                raise DataError(
                    f"Row {row} has the label {value}; the {len(classes)} classes are 0 to {len(classes) - 1}."
                )
            value = classes[int(value)]
        names.append(str(value))
    return names


def check_seen(unseen: Sequence[str]) -> None:
    """Refuses rows of unseen classes in training.

    Raises:
        DataError: With the classes that rows show.
    """
    if unseen:
        raise DataError(
            f"Training rows show {', '.join(map(repr, unseen))}, which must stay unseen. Drop these rows, or count the "
            "classes as seen; otherwise nothing is learned about classes never seen."
        )


def seen_with_rows(seen: Sequence[str], names: Sequence[str], *, given: bool) -> tuple[str, ...]:
    """The seen classes of which there are rows: others would count as trained though nothing was learned of them.

    Args:
        seen: Classes that count as seen.
        names: Of the rows' classes.
        given: Whether the user named the seen classes; otherwise all of the table count, and those without rows are
            left out, and said.

    Raises:
        DataError: When a class that was named has no row.
    """
    shown = set(names)
    absent = [name for name in seen if name not in shown]
    if not absent:
        return tuple(seen)
    listed = ", ".join(map(repr, absent))
    if given:
        raise DataError(
            f"No row shows {listed}, which are to be seen classes. Give rows of them, or leave them out of seen."
        )
    logger.warning(f"No row shows {listed}: they count as unseen classes.")
    return tuple(name for name in seen if name in shown)
