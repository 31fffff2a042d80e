"""Classes described by attributes: a row for each class, seen in training or not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.data.tables import KINDS, read_tables
from hf_transfer_kit.errors import DataError, SettingsError, first_line
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_number
from hf_transfer_kit.zero_shot.methods.method import common_unit

MISSING = ("refuse", "mean")
_SHOWN = 5
_NUMBERING = {"", "index", "id", "idx", "row", "nr", "no", "number", "class_id", "class_index"}

logger = get_logger(__name__)


@dataclass(frozen=True, eq=False)
class AttributeTable:
    """A class x attribute matrix.

    Args:
        classes: Names, none twice.
        attributes: Names, none twice.
        values: float64 of shape (C, A), binary or continuous, finite; no row of zeros alone.

    Raises:
        DataError: When the shape does not fit, a name stands twice, a value is missing or not finite, or a row is all
            zeros.

    Example:
        >>> table = AttributeTable.of({"horse": {"stripes": 0, "hooves": 1}, "zebra": {"stripes": 1, "hooves": 1}})
        >>> table.attributes, table.rows(["zebra"])
        (('stripes', 'hooves'), array([[1., 1.]]))
    """

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        try:
            values = np.asarray(self.values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"The values of the table are no matrix of numbers: {first_line(error)}.") from error
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        object.__setattr__(self, "attributes", tuple(map(str, self.attributes)))
        object.__setattr__(self, "values", values)
        if values.shape != (len(self.classes), len(self.attributes)) or not values.size:
            raise DataError(
                f"The table has {len(self.classes)} classes and {len(self.attributes)} attributes, but values of shape "
                f"{values.shape}. Give a row for each class with a value for each attribute."
            )
        for what, names in (("class", self.classes), ("attribute", self.attributes)):
            if any(name is None or not str(name).strip() for name in names):
                raise DataError(f"A{'n' * (what == 'attribute')} {what} of the table has no name. Give each its own.")
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise DataError(f"The {what} {_listed(twice)} stands twice in the table. Give each its own name.")
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise DataError(
                f"{self.attributes[column]!r} of {self.classes[row]!r} is {values[row, column]}. Give a finite number, "
                "or fill missing ones with missing='mean'."
            )
        if empty := [name for name, row in zip(self.classes, values, strict=True) if not row.any()]:
            raise DataError(
                f"All attributes of {_listed(empty)} are 0, so nothing describes it. Give it a value that is not, or "
                "leave the class out."
            )

    @classmethod
    def of(
        cls,
        source: AttributeTable | str | Path | Dataset | Mapping[str, Any],
        *,
        class_column: str | None = None,
        missing: str = "refuse",
        unknown: float | None = None,
    ) -> AttributeTable:
        """Reads a table.

        Args:
            source: A csv, tsv, parquet or json file; a dataset with a row for each class; or class -> values, each a
                mapping of attributes or a list.
            class_column: Column with the names of the classes; the first column of text by default.
            missing: What to do with missing values: ``"refuse"``, or ``"mean"``, the attribute's mean over the classes
                that have it.
            unknown: A number that stands for a missing value, such as -1.

        Columns of a file that only number its rows (``Unnamed: 0``, as ``df.to_csv()`` writes them, ``id``, ``index``)
        are no attributes: they are left out, and said.

        Raises:
            DataError: When it cannot be read, a cell holds no number, or the table does not hold together.
            SettingsError: When ``missing`` is unknown.
        """
        if missing not in MISSING:
            raise SettingsError(
                f"missing={missing!r} is unknown; choose {' or '.join(map(repr, MISSING))}."
                f"{did_you_mean(missing, MISSING)}"
            )
        if unknown is not None:
            check_number("AttributeTable.of", "unknown", unknown, low=-math.inf)
        if isinstance(source, AttributeTable):
            return source
        if isinstance(source, Mapping):
            classes, attributes, cells = _from_mapping(source)
        elif isinstance(source, Dataset):
            classes, attributes, cells = _from_rows(source, class_column)
        else:
            if not isinstance(source, str | Path):
                raise DataError(
                    f"{source!r} is no table: give a file, a dataset, or class -> values of its attributes."
                )
            data = _file(Path(source))
            classes, attributes, cells = _from_rows(data, class_column)
        values = _numbers(classes, attributes, cells)
        if unknown is not None:
            values[values == unknown] = np.nan
        return cls(tuple(classes), tuple(attributes), _filled(values, classes, attributes, missing))

    def __len__(self) -> int:
        return len(self.classes)

    @checked_arguments()
    def rows(self, classes: Sequence[str]) -> np.ndarray:
        """Values of these classes in this order, (len(classes), A).

        Raises:
            DataError: When a class has no row.
        """
        place = {name: row for row, name in enumerate(self.classes)}
        if absent := [name for name in classes if name not in place]:
            raise DataError(
                f"{_listed(absent)} has no row in the table, which describes {_listed(self.classes)}. Add a row, or "
                "rename the class."
            )
        return self.values[[place[name] for name in classes]]

    @checked_arguments()
    def select(self, classes: Sequence[str]) -> AttributeTable:
        """The table of these classes alone."""
        return AttributeTable(tuple(classes), self.attributes, self.rows(classes))

    @checked_arguments()
    def joined(self, other: AttributeTable, *, replace: bool = False) -> AttributeTable:
        """This table with the classes of ``other``; rows of classes that both have come from ``other``.

        Args:
            other: A table of the same attributes, in any order.
            replace: Whether the classes of this one are left out.

        Raises:
            DataError: When the attributes are not the same.
        """
        if set(self.attributes) != set(other.attributes):
            ours = [name for name in self.attributes if name not in other.attributes]
            theirs = [name for name in other.attributes if name not in self.attributes]
            only = [
                f"only in {whose}: {_listed(names)}" for whose, names in (("the first", ours), ("the second", theirs))
                if names
            ]  # fmt: skip
            raise DataError(f"Both tables need the same attributes, but they differ; {'; '.join(only)}.")
        order = [other.attributes.index(name) for name in self.attributes]
        rows = {} if replace else dict(zip(self.classes, self.values, strict=True))
        rows.update(zip(other.classes, other.values[:, order], strict=True))
        return AttributeTable(tuple(rows), self.attributes, np.stack(list(rows.values())))

    @checked_arguments()
    def beside(self, other: AttributeTable) -> AttributeTable:
        """This table with the attributes of ``other`` after its own, for the classes of this one.

        Raises:
            DataError: When a class has no row in ``other``, or both name an attribute alike.
        """
        values = np.concatenate([self.values, other.rows(self.classes)], axis=1)
        return AttributeTable(self.classes, (*self.attributes, *other.attributes), values)

    def findings(self) -> tuple[str, ...]:
        """Sentences on what the table cannot tell: classes with equal rows, attributes that are the same everywhere."""
        found = []
        equal: dict[bytes, list[str]] = {}
        for name, row in zip(self.classes, self.values, strict=True):
            equal.setdefault(row.tobytes(), []).append(name)
        found += [
            f"{' and '.join(map(repr, names))} have equal rows, so nothing can tell them apart. Add an attribute in "
            "which they differ."
            for names in equal.values()
            if len(names) > 1
        ]
        odd = [
            name
            for name, column in zip(self.attributes, self.values.T, strict=True)
            if set(np.unique(column)) in ({-1.0, 0.0}, {-1.0, 1.0}, {-1.0, 0.0, 1.0}) and not self._is_signed()
        ]
        if odd:
            found.append(
                f"{_listed(odd)} holds -1 beside 0 and 1, taken as a value. If it means unknown, read the table with "
                "unknown=-1 and missing='mean'."
            )
        unit, _ = common_unit(torch.from_numpy(self.values))
        if (own := unit.numpy() != 1).any():
            found.append(
                f"{_listed(np.array(self.attributes)[own])} is in a unit of its own, ten times what is usual among the "
                "attributes or a tenth of it, and is scaled to their span over the seen classes."
            )
        same = [name for name, column in zip(self.attributes, self.values.T, strict=True) if np.ptp(column) == 0]
        if same and len(self.classes) > 1:
            found.append(
                f"{_listed(same)} is the same for every class and tells nothing. Leave it out."
                if len(same) == 1
                else f"{_listed(same)} are the same for every class and tell nothing. Leave them out."
            )
        return tuple(found)

    def _is_signed(self) -> bool:
        """Whether most attributes say yes by 1 and no by -1."""
        return bool(np.mean([(column == -1).any() and not (column == 0).any() for column in self.values.T]) > 0.5)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for a model's configuration."""
        return {
            "classes": list(self.classes), "attributes": list(self.attributes), "values": self.values.tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AttributeTable:
        """What ``to_dict`` gave.

        Raises:
            DataError: When it is something else.
        """
        if not isinstance(values, Mapping) or not {"classes", "attributes", "values"} <= values.keys():
            raise DataError(f"{values!r:.60} is no table that to_dict gave, with classes, attributes and values.")
        return cls(tuple(values["classes"]), tuple(values["attributes"]), np.array(values["values"], dtype=np.float64))


def _file(path: Path) -> Dataset:
    if path.suffix.lower() not in KINDS or "\0" in str(path) or not path.is_file():
        raise DataError(f"{path} is no table: give a file that ends in {', '.join(KINDS)}.")
    return read_tables([path])


def _from_rows(data: Dataset, class_column: str | None) -> tuple[list[str], list[str], list[list[Any]]]:
    if class_column is None:
        texts = [name for name, f in data.features.items() if "string" in str(getattr(f, "dtype", ""))]
        if not texts:
            raise DataError(
                f"No column holds names of classes; the columns are {_listed(data.column_names)}."
                f"{did_you_mean(class_column, data.column_names)}"
            )
        class_column = texts[0]
    if class_column not in data.column_names:
        raise DataError(
            f"There is no column {class_column!r}; the columns are {_listed(data.column_names)}."
            f"{did_you_mean(class_column, data.column_names)}"
        )
    attributes = [name for name in data.column_names if name != class_column]
    numbering = [name for name in attributes if _only_numbers_rows(name, data[name][:])]
    if numbering and len(numbering) < len(attributes):
        logger.warning(f"The columns {_listed(numbering)} of the table number its rows and are left out.")
        attributes = [name for name in attributes if name not in numbering]
    columns = [data[name][:] for name in attributes]
    classes = list(data[class_column])
    if None in classes:
        raise DataError(
            f"Row {classes.index(None)} of the table has no class in the column {class_column!r}. Name it, or leave "
            "the row out."
        )
    return classes, attributes, [list(row) for row in zip(*columns, strict=True)]


def _only_numbers_rows(name: str, values: Sequence[Any]) -> bool:
    """Whether a column is an index: called like one and different in every row, or counting its rows."""
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return False
    called = name.strip().lower().startswith("unnamed:") or name.strip().lower() in _NUMBERING
    counts_up = len(values) >= 8 and list(values) in (list(range(len(values))), list(range(1, len(values) + 1)))
    return (called and len(set(values)) == len(values)) or counts_up


def _from_mapping(source: Mapping[str, Any]) -> tuple[list[str], list[str], list[list[Any]]]:
    classes = [str(name) for name in source]
    if not classes:
        raise DataError("The table is empty: give class -> values of its attributes.")
    first = next(iter(source.values()))
    kind = Mapping if isinstance(first, Mapping) else Sequence | np.ndarray
    for name, row in source.items():
        if isinstance(row, str | bytes) or not isinstance(row, kind):
            raise DataError(
                f"{name!r} is described by {row!r}: give every class a list of numbers, or every class attribute -> "
                "number."
            )
    if isinstance(first, Mapping):
        attributes = list(first)
        if wrong := [attribute for attribute in attributes if not isinstance(attribute, str)]:
            raise DataError(f"The attribute {wrong[0]!r} is no text. Give every attribute a name.")
        for name, row in source.items():
            if differing := row.keys() ^ first.keys():
                raise DataError(
                    f"{name!r} and {classes[0]!r} have different attributes: {_listed(sorted(map(str, differing)))}. "
                    "Give every class the same ones."
                )
        return classes, attributes, [[row[attribute] for attribute in attributes] for row in source.values()]
    lengths = {name: len(row) for name, row in source.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"Classes have different numbers of values: {lengths}. Give every class the same attributes.")
    return classes, [f"attribute {number}" for number in range(len(first))], [list(row) for row in source.values()]


def _numbers(classes: Sequence[str], attributes: Sequence[str], cells: list[list[Any]]) -> np.ndarray:
    values = np.empty((len(classes), len(attributes)))
    for row, column in np.ndindex(*values.shape):
        cell = cells[row][column]
        try:
            values[row, column] = np.nan if cell is None else float(cell)
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                f"{attributes[column]!r} of {classes[row]!r} is {cell!r}, but attributes are numbers: 1 and 0 for yes "
                "and no."
            ) from None
    return values


def _filled(values: np.ndarray, classes: Sequence[str], attributes: Sequence[str], missing: str) -> np.ndarray:
    if missing == "refuse" or not np.isnan(values).any():
        return values
    nothing = np.isnan(values).all(axis=0)
    if nothing.any():
        raise DataError(f"{_listed(np.array(attributes)[nothing])} is missing for every class. Leave it out.")
    unknown = np.isnan(values).all(axis=1)
    if unknown.any():
        raise DataError(f"{_listed(np.array(classes)[unknown])} has no value at all. Describe it, or leave it out.")
    return np.where(np.isnan(values), np.nanmean(values, axis=0), values)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(str(name)) for name in names[:_SHOWN]) + more
