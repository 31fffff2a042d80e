"""All that was said of the rows that could be read, and which could not; as a table, a data frame and files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, overload

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.disk import full_disk_told
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.plain_tables import PlainTable, html_lines
from hf_transfer_kit.predicting.answers import Answer

ENDINGS = (".csv", ".jsonl")
_SHOWN = 10
_WIDEST = 48


@dataclass(frozen=True)
class SkippedRow:
    """A row of which nothing was predicted.

    Args:
        row: As an answer's.
        reason: Why.

    Example:
        >>> load_transferred(finished)("absent.jpg").skipped == (SkippedRow("absent.jpg", "there is no such file"),)
        True
    """

    row: str | int
    reason: str


@dataclass(frozen=True, repr=False)
class Predictions(Sequence[Answer]):
    """Answers in the order of the rows, of one row in the order of the tasks.

    Args:
        answers: One for each row that could be read, and of several tasks for each task.
        skipped: Rows that could not be read, with the reasons.

    Example:
        >>> from PIL import Image
        >>> found = load_transferred(finished)([Image.new("RGB", (40, 30), "red"), "absent.jpg"], top=1)
        >>> isinstance(found, Predictions), len(found), found.skipped[0].row
        (True, 1, 'absent.jpg')
    """

    answers: tuple[Answer, ...]
    skipped: tuple[SkippedRow, ...] = ()

    def __len__(self) -> int:
        return len(self.answers)

    @overload
    def __getitem__(self, place: int) -> Answer: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Answer, ...]: ...
    def __getitem__(self, place: int | slice) -> Answer | tuple[Answer, ...]:
        return self.answers[place]

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def lines(self) -> list[dict[str, Any]]:
        """Column -> value of each line of a table: one for each answer, or for each word."""
        return [line for answer in self.answers for line in answer.lines()]

    def to_pandas(self) -> Any:
        """The lines as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.lines())

    @checked_arguments()
    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes a file, whole or not at all: lines of csv, or one JSON object for each answer.

        Args:
            path: Ends in ``.csv`` or ``.jsonl``.
            overwrite: Whether a file that is there is replaced.

        Raises:
            SettingsError: When the ending is another, or the file is there.
            FullDiskError: When the disk is full.
        """
        path = check_output_file(path, overwrite=overwrite)
        with full_disk_told(f"No space is left to write {path.name}; what was there is as it was. Free some space."):
            staged = path.with_name(f".unfinished-{os.getpid()}-{path.name}")
            try:
                # Names of files need not be Unicode.
                with staged.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                    self.write(file, path.suffix.lower())
                os.replace(staged, path)
            finally:
                staged.unlink(missing_ok=True)

    def write(self, file: IO[str], ending: str) -> None:
        """Writes to an open file what ``save`` would.

        Args:
            file: Of texts.
            ending: ``".csv"`` or ``".jsonl"``.
        """
        if ending == ".jsonl":
            file.writelines(json.dumps(a.record(), ensure_ascii=False, allow_nan=False) + "\n" for a in self.answers)
            return
        lines = self.lines()
        writer = csv.DictWriter(file, columns_of(lines), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)

    def table(self, limit: int | None = None) -> str:
        """For people: aligned columns of the first answers.

        Args:
            limit: How many; None for all.
        """
        return self._table(limit).text()

    def __repr__(self) -> str:
        return f"{self._counts()}\n{self.table(_SHOWN)}".rstrip()

    def _repr_html_(self) -> str:
        return html_lines((self._counts(),)) + self._table(_SHOWN).html()

    def _table(self, limit: int | None) -> PlainTable:
        shown = [answer.shown() for answer in self.answers[:limit]]
        names = columns_of(shown)
        cells = [[_cell(name, line.get(name)) for name in names] for line in shown]
        left = len(self) - len(shown)
        more = (f"... and {left:,} more",) if left else ()
        return PlainTable(names, cells, left=frozenset(range(len(names))), after=more)

    def _counts(self) -> str:
        skipped = f", {len(self.skipped)} rows skipped" if self.skipped else ""
        return f"{len(self)} predictions{skipped}"


def check_output_file(path: str | Path, *, overwrite: bool = False) -> Path:
    """The path of a file that may be written.

    Args:
        path: Of the file.
        overwrite: Whether it may be there.

    Raises:
        SettingsError: When its ending is none that is known, its folder is not there, or it is there already and is
            not to be replaced.

    Example:
        >>> check_output_file("predictions.csv").name
        'predictions.csv'
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise SettingsError(
            f"{path.name} ends in {path.suffix or 'nothing'}, which says no format: give a name that ends in "
            f"{' or '.join(ENDINGS)}.{did_you_mean(path.suffix, ENDINGS)}"
        )
    if path.is_dir():
        raise SettingsError(f"{path} is a folder; give the name of a file in it.")
    if not path.parent.is_dir():
        raise SettingsError(f"{path} cannot be written, for there is no folder {path.parent}. Make it first.")
    if os.path.lexists(path) and not overwrite:
        raise SettingsError(f"{path} is there already. Give another name, or overwrite (--overwrite) to replace it.")
    return path


def columns_of(lines: Sequence[dict[str, Any]]) -> list[str]:
    """All columns that some line has, in the order of the first that has it."""
    return list(dict.fromkeys(name for line in lines for name in line))


def _cell(column: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "" if value is None else " ".join(str(value).split())
    if len(text) <= _WIDEST:
        return text
    return f"...{text[3 - _WIDEST :]}" if column == "row" else f"{text[: _WIDEST - 3]}..."
