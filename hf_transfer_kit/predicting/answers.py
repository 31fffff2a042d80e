"""What a network says of a row, for each type of task, as a value that can be written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

UNKNOWN = "unknown"
"""The label of a row that an open-set network rejects."""
Ranked = tuple[tuple[str, float], ...]
"""Labels with their probabilities (or scores), the best first."""


@dataclass(frozen=True)
class Answer:
    """What is said of one row.

    Args:
        row: The file's path as it was given or found, or the row's number; of one of several tables ``name:number``.
        task: Of a network of several tasks the one that answers.
    """

    row: str | int
    task: str | None

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"row": self.row, **({} if self.task is None else {"task": self.task})}

    def lines(self) -> list[dict[str, Any]]:
        """As a table holds it: one line, or one for each word."""
        return [self.record()]

    def shown(self) -> dict[str, Any]:
        """Column -> value of one line for people."""
        return self.lines()[0]


@dataclass(frozen=True)
class ClassAnswer(Answer):
    """One class.

    Args:
        label: Of the likeliest class, or ``"unknown"`` where an open-set network rejects the row.
        top: The likeliest classes with their probabilities, or for a zero-shot network, whose scores are none, scores.
        rejected: Whether the row is unknown; None for a network that rejects none.
        measure: ``"probability"`` or ``"score"``.

    Example:
        >>> answer = ClassAnswer("a.jpg", None, "cat", (("cat", 0.9), ("dog", 0.1)))
        >>> answer.label, answer.probability
        ('cat', 0.9)
    """

    label: str
    top: Ranked
    rejected: bool | None = None
    measure: str = "probability"

    @property
    def probability(self) -> float | None:
        """Of the label, or its score; None for a rejected row, whose class has none."""
        return None if self.rejected else self.top[0][1]

    def record(self) -> dict[str, Any]:
        top = [{"label": label, self.measure: value} for label, value in self.top]
        return {**super().record(), "label": self.label, self.measure: self.probability, "top": top}

    def lines(self) -> list[dict[str, Any]]:
        known = {} if self.rejected is None else {"nearest_known": self.top[0][0]}
        further = _numbered(self.top[1:], self.measure, start=2)
        return [{**super().record(), "label": self.label, self.measure: self.probability, **known, **further}]

    def shown(self) -> dict[str, Any]:
        others = self.top if self.rejected else self.top[1:]
        following = {"next": _in_words(others, self.measure)} if others else {}
        return {
            **super().record(),
            "label": self.label,
            self.measure: _figure(self.probability, self.measure),
            **following,
        }


@dataclass(frozen=True)
class LabelsAnswer(Answer):
    """Any number of classes.

    Args:
        labels: Those whose probability is above one half.
        top: The likeliest classes with their probabilities, held or not.

    Example:
        >>> LabelsAnswer("a.jpg", None, ("cat",), (("cat", 0.9), ("dog", 0.1))).labels
        ('cat',)
    """

    labels: tuple[str, ...]
    top: Ranked

    def record(self) -> dict[str, Any]:
        top = [{"label": label, "probability": value} for label, value in self.top]
        return {**super().record(), "labels": list(self.labels), "top": top}

    def lines(self) -> list[dict[str, Any]]:
        return [{**super().record(), "labels": " | ".join(self.labels), **_numbered(self.top, "probability", start=1)}]

    def shown(self) -> dict[str, Any]:
        held = {"labels": ", ".join(self.labels) or "none"}
        return {**super().record(), **held, "likeliest": _in_words(self.top, "probability")}


@dataclass(frozen=True)
class NumberAnswer(Answer):
    """A number, or several by name, in the unit of the labels that were learned.

    Args:
        values: Name and number of each.

    Example:
        >>> NumberAnswer("a.jpg", None, (("age", 31.5),)).value
        31.5
    """

    values: tuple[tuple[str, float], ...]

    @property
    def value(self) -> float:
        """The first, or only one."""
        return self.values[0][1]

    def record(self) -> dict[str, Any]:
        one = len(self.values) == 1
        return {**super().record(), **({"value": self.value} if one else {"values": dict(self.values)})}

    def lines(self) -> list[dict[str, Any]]:
        if len(self.values) == 1:
            return [self.record()]
        return [{**super().record(), **{f"value_{name}": value for name, value in self.values}}]


@dataclass(frozen=True)
class WordsAnswer(Answer):
    """A class for each word.

    Args:
        words: Word, label and probability; label and probability are None for words behind the longest text that the
            network was measured on, which it does not read.

    Example:
        >>> WordsAnswer(0, None, (("Rome", "B-LOC", 0.9),)).lines()[0]["label"]
        'B-LOC'
    """

    words: tuple[tuple[str, str | None, float | None], ...]

    _COLUMNS: ClassVar[tuple[str, ...]] = ("word", "label", "probability")

    def record(self) -> dict[str, Any]:
        return {**super().record(), "words": [dict(zip(self._COLUMNS, word, strict=True)) for word in self.words]}

    def lines(self) -> list[dict[str, Any]]:
        about = super().record()
        return [
            {**about, "position": place, **dict(zip(self._COLUMNS, word, strict=True))}
            for place, word in enumerate(self.words)
        ]

    def shown(self) -> dict[str, Any]:
        return {**super().record(), "words": " ".join(f"{word}/{label or '?'}" for word, label, _ in self.words)}


@dataclass(frozen=True)
class TextAnswer(Answer):
    """What was heard, spelled.

    Args:
        text: By the symbols that were learned.

    Example:
        >>> TextAnswer("a.wav", None, "one").record()
        {'row': 'a.wav', 'text': 'one'}
    """

    text: str

    def record(self) -> dict[str, Any]:
        return {**super().record(), "text": self.text}


def _numbered(top: Sequence[tuple[str, float]], measure: str, *, start: int) -> Mapping[str, Any]:
    pairs = enumerate(top, start=start)
    return {f"{key}_{n}": value for n, pair in pairs for key, value in zip(("label", measure), pair, strict=True)}


def _in_words(top: Ranked, measure: str) -> str:
    return ", ".join(f"{label} {_figure(value, measure)}" for label, value in top)


def _figure(value: float | None, measure: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if measure == "probability" else f"{value:.3g}"
