"""A transferred model asked about one row that somebody gave by hand, with answers as a page shows them."""

from __future__ import annotations

from dataclasses import dataclass

from datasets import Dataset

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.predicting.answers import Answer, ClassAnswer, LabelsAnswer
from hf_transfer_kit.predicting.meaning import Meaning
from hf_transfer_kit.predicting.transferred import TransferredModel

Shown = dict[str, float] | list[list[str | float]] | str
"""Of ``"classes"`` name -> probability in [0, 1], or a sentence where the row is rejected; of ``"scores"`` rows of a
name and a score, the best first; of ``"words"`` a text."""
_NOTHING = {"image": "a picture", "audio": "a sound", "text": "a text"}


@dataclass(frozen=True)
class Question:
    """What can be given in one place, and the tasks that answer.

    Args:
        kind: ``"image"``, ``"audio"`` or ``"text"``.
        meanings: Of these tasks, in the order in which they were trained.
        pairs: Whether some of them read two texts.
    """

    kind: str
    meanings: tuple[Meaning, ...]
    pairs: bool = False


def questions(model: TransferredModel) -> tuple[Question, ...]:
    """One for each kind of rows that a model reads."""
    found = []
    for kind in model.kinds:
        readings = [reading for reading in model.readings if reading.kind == kind]
        meanings = [meaning for reading in readings for meaning in reading.meanings]
        meanings.sort(key=lambda meaning: model.tasks.index(meaning.task) if meaning.task else 0)
        found.append(Question(kind, tuple(meanings), any(len(reading.columns) == 2 for reading in readings)))
    return tuple(found)


def output_kind(meaning: Meaning) -> str:
    """How a task's answers are shown: ``"classes"``, ``"scores"`` or ``"words"``."""
    if meaning.type not in ("classification", "multi_label"):
        return "words"
    return "classes" if meaning.measure == "probability" else "scores"


def asked_by_hand(
    model: TransferredModel, question: Question, given: str | None, second: str | None = None, *, top: int = 5
) -> tuple[Shown, ...]:
    """What the tasks say of one row.

    Args:
        model: Of which the question is.
        question: One of ``questions(model)``.
        given: Path of a picture or sound, or a text.
        second: Text of a pair.
        top: Classes that are told.

    Returns:
        One a task, in the order of the question's.

    Raises:
        DataError: When nothing was given, or it cannot be read.
    """
    if not given or not given.strip():
        raise DataError(f"Nothing was given: the model reads {_NOTHING[question.kind]}.")
    return tuple(_shown(_answer(model, meaning, given, second, top)) for meaning in question.meanings)


def _answer(model: TransferredModel, meaning: Meaning, given: str, second: str | None, top: int) -> Answer:
    (reading,) = [each for each in model.readings if meaning in each.meanings]
    pair = len(reading.columns) == 2
    if pair and not (second and second.strip()):
        raise DataError("The model reads pairs of texts; give the second one as well.")
    # In a table a text is a text, also where it looks like the name of a file.
    columns = {"first": [given], **({"second": [second]} if pair else {})}
    is_text = reading.kind == "text"
    rows = Dataset.from_dict(columns) if is_text else given
    column = ",".join(columns) if is_text else None
    found = model(rows, task=meaning.task, top=top, input_column=column, progress=False)
    if not found:
        raise DataError(f"It cannot be read: {found.skipped[0].reason}.")
    return found[0]


def _shown(answer: Answer) -> Shown:
    if isinstance(answer, ClassAnswer):
        if answer.rejected:
            return f"{answer.label}; the nearest known class is {answer.top[0][0]}"
        if answer.measure == "probability":
            return dict(answer.top)
        return [[name, float(_text(value))] for name, value in answer.top]
    if isinstance(answer, LabelsAnswer):
        return dict(answer.top)
    told = {name: value for name, value in answer.shown().items() if name not in ("row", "task")}
    if list(told) in (["value"], ["words"], ["text"]):
        return _text(*told.values())
    return "\n".join(f"{name.removeprefix('value_')}: {_text(value)}" for name, value in told.items())


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
