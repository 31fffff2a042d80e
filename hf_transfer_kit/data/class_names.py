"""Classes by their names: what the splits of one dataset call them, and what of it is doubtful."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from datasets import ClassLabel, Dataset, Value

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.logs import get_logger

logger = get_logger(__name__)


def shared_names(lists: Mapping[str, Sequence[str]], label: str) -> list[str]:
    """One list of classes for all splits: the first one's, then those that further splits add, said where they differ.

    Args:
        lists: Split -> the names of its classes in its order.
        label: The column, for the sentence.
    """
    names = list(dict.fromkeys(name for own in lists.values() for name in own))
    first, *others = lists
    for split in others:
        if list(lists[split]) != list(lists[first]):
            logger.warning(
                f"The classes of {label!r} are {_some(lists[first])} in {first} and {_some(lists[split])} in {split}: "
                "they are matched by name, not by place."
            )
    return names


def places(own: Sequence[str], names: Sequence[str]) -> dict[int, int]:
    """Class index in a split's own list -> index in the shared one."""
    place = {name: index for index, name in enumerate(names)}
    return {index: place[name] for index, name in enumerate(own)}


def indices_of_plain(data: Dataset, label: str, names: Sequence[str], *, split: str) -> list[int | None]:
    """Class of each row of a split whose column is plain where another split's has names: by name, else by number.

    Raises:
        DataError: When a value is neither, or numbers could be meant either way.
    """
    values = data[label][:]
    place = {name: index for index, name in enumerate(names)}
    texts = [None if value is None else as_name(value) for value in values]
    known = {text for text in texts if text is not None}
    by_name = known <= set(place)
    whole = {int(text) for text in known if text.lstrip("-").isdigit()}
    by_number = len(whole) == len(known) and all(-1 <= number < len(names) for number in whole)
    if by_name and by_number and any(place[text] != int(text) for text in known):
        raise DataError(
            f"The labels of {split} in {label!r} are numbers, and the classes of other splits are called "
            f"{_some(names)}: whether a number is a name or a place cannot be told. Give all splits the same kind."
        )
    if by_name:
        return [None if text is None else place[text] for text in texts]
    if by_number:
        return [None if text is None else int(text) for text in texts]
    wrong = sorted(known - set(place))[0]
    raise DataError(
        f"The split {split} has the label {wrong!r} in {label!r}, which is none of the classes of the other splits: "
        f"{_some(names)}. Rename it, or give all splits the same classes."
    )


def check_spellings(names: Sequence[str], label: str) -> None:
    """Refuses classes read from texts that differ in case or in space alone, unless they are single letters.

    Raises:
        DataError: With the two spellings.
    """
    seen: dict[str, str] = {}
    for name in names:
        plain = " ".join(name.split()).casefold()
        if plain in seen and len(plain) > 1:
            raise DataError(
                f"The label column {label!r} holds {seen[plain]!r} and {name!r}: one class in two spellings, or two "
                "classes? Write one of them in all rows, or give two classes names that differ in more than case."
            )
        seen[plain] = name


def tell_untaught(counts: Mapping[str, Mapping[int, int]], names: Sequence[str]) -> None:
    """Says which classes have rows elsewhere and none in train.

    Args:
        counts: Split -> class index -> its rows.
        names: Names of the classes.
    """
    untaught = [
        f"{names[index]!r} ({rows} rows of {split})"
        for split, found in counts.items()
        if split != "train"
        for index, rows in found.items()
        if not counts["train"].get(index)
    ]
    if untaught:
        logger.warning(f"No row of train has the class {', '.join(untaught)}: nothing teaches it.")


def is_class(feature: object) -> bool:
    """Whether a column has names of classes."""
    return isinstance(feature, ClassLabel)


def is_text(feature: object) -> bool:
    """Whether a column holds texts."""
    return isinstance(feature, Value) and "string" in feature.dtype


def as_name(value: object) -> str:
    """A class's name of a label: a number as whole, a text without space around it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value.strip() if isinstance(value, str) else str(int(value) if isinstance(value, bool) else value)


def _some(names: Iterable[str], limit: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f", ... ({len(names)})" if len(names) > limit else "")
