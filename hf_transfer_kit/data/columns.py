"""Which column is the input and which the label; ambiguity is an error that lists the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datasets import ClassLabel, Dataset, Features, Image, Value

from hf_transfer_kit.data.label_kinds import is_list, item_of
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.near_names import did_you_mean

_LABEL_NAMES = ("label", "labels", "target", "class", "category", "y")
_TRANSCRIPT_NAMES = ("transcription", "transcript", "text", "sentence")
_TEXT_NAMES = ("text", "sentence", "content", "tokens", "words")
_AUDIO_FIELDS = {"bytes", "path"}


@dataclass(frozen=True)
class Columns:
    """The columns that matter: inputs (one, or two texts of a pair), label (None without), and what the inputs hold."""

    inputs: tuple[str, ...]
    label: str | None
    modality: str


def find_columns(
    data: Dataset,
    *,
    input_column: str | None = None,
    label_column: str | None = None,
    modality: str | None = None,
    labelled: bool = True,
    words: bool = False,
    transcripts: bool = False,
) -> Columns:
    """Finds the input and the label columns of a dataset.

    Args:
        data: The dataset.
        input_column: Its input column, where the user says so; two names joined by a comma for text pairs.
        label_column: Its label column, where the user says so.
        modality: ``"image"``, ``"text"`` or ``"audio"``, where several are there.
        labelled: Whether there must be a label column.
        words: Whether inputs are lists of words, each with a class.
        transcripts: Whether the label is what an input spells, which has names of its own.

    Raises:
        DataError: When a column named does not exist, or none or several fit.
    """
    if transcripts and label_column is None:
        inputs = (input_column or "").split(",")
        label_column = next((name for name in _TRANSCRIPT_NAMES if name in data.features and name not in inputs), None)
    label = _label_column(data, label_column, required=labelled, words=words)
    kind_of = _word_modality if words else column_modality
    candidates = {name: kind for name, feature in data.features.items() if name != label and (kind := kind_of(feature))}
    if input_column is not None:
        names = tuple(name.strip() for name in input_column.split(","))
        for name in names:
            if name not in candidates:
                raise DataError(
                    f"input_column={name!r} holds no image, text or sound; the columns are {_listed(data)}. "
                    f"Give the name of one that does.{did_you_mean(name, data.column_names)}"
                )
        return Columns(names, label, candidates[names[0]])
    kinds = [modality] if modality else ["image", "audio", "text"]
    for kind in kinds:
        found = [name for name, candidate in candidates.items() if candidate == kind]
        if kind == "text" and len(found) > 1:
            found = [name for name in found if name in _TEXT_NAMES] or found
        if len(found) == 1:
            return Columns((found[0],), label, kind)
        if len(found) > 1:
            raise DataError(
                f"Several columns hold {kind}: {', '.join(found)}. Say which with --input_column (for a pair of texts "
                "two names joined by a comma)."
            )
    raise DataError(
        f"No column holds images, texts or sounds; the columns are {_listed(data)}. Name one: --input_column."
    )


def check_columns(splits: Mapping[str, Dataset], columns: Columns, further: Sequence[str] = ()) -> None:
    """Refuses splits that lack a column: one that the others have, or one of ``further``.

    Raises:
        DataError: With the split, what it lacks and what it has.
    """
    wanted = [name for name in (*columns.inputs, columns.label, *further) if name is not None]
    for split, data in splits.items():
        missing = [name for name in wanted if name not in data.features]
        if missing and split == "train":
            raise DataError(
                f"There is no column {', '.join(map(repr, missing))}; the columns are {_listed(data)}. Name one "
                f"of these.{did_you_mean(missing[0], data.column_names)}"
            )
        if missing:
            raise DataError(
                f"The split {split} has no column {', '.join(map(repr, missing))}, which train has; its columns are "
                f"{_listed(data)}. Give all splits the same columns; a label may be None where a target has none."
            )


def column_modality(feature: object) -> str | None:
    """What a column of this feature type can hold as an input: image, audio, text or None."""
    if isinstance(feature, Image):
        return "image"
    if type(feature).__name__ == "Audio" or (isinstance(feature, dict) and set(feature) >= _AUDIO_FIELDS):
        return "audio"
    if isinstance(feature, Value) and feature.dtype in ("string", "large_string"):
        return "text"
    return None


def _word_modality(feature: object) -> str | None:
    """``"text"`` for a column of lists of words."""
    return "text" if is_list(feature) and column_modality(item_of(feature)) == "text" else None


def _label_column(data: Dataset, label_column: str | None, *, required: bool, words: bool = False) -> str | None:
    if label_column is not None:
        if label_column not in data.features:
            raise DataError(
                f"There is no column {label_column!r} for the label; the columns are {_listed(data)}."
                f"{did_you_mean(label_column, data.column_names)}"
            )
        return label_column
    named = [name for name in _LABEL_NAMES if name in data.features]
    if named:
        return named[0]
    classes = [
        name
        for name, feature in data.features.items()
        if isinstance(item_of(feature) if words and is_list(feature) else feature, ClassLabel)
    ]
    if len(classes) == 1:
        return classes[0]
    if not (classes or required):
        return None
    if not classes and set(data.column_names) <= {"image", "audio"}:
        raise DataError(
            "The files lie in one folder, so that nothing tells their classes. Give each class a folder of its own, or "
            "a table that names the files and their classes (metadata.csv with a column file_name)."
        )
    what = f"several columns hold classes ({', '.join(classes)})" if classes else "there is no label column"
    raise DataError(f"{what[0].upper()}{what[1:]}; the columns are {_listed(data)}. Say which with --label_column.")


def _listed(data: Dataset) -> str:
    return ", ".join(f"{name} ({_short(feature)})" for name, feature in Features(data.features).items())


def _short(feature: object) -> str:
    return getattr(feature, "dtype", None) or type(feature).__name__
