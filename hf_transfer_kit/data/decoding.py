"""Rows into arrays: images as RGB arrays, sounds as mono waves; rows that cannot be read are named."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from typing import Any

import numpy as np
from datasets import Audio, Dataset, Image
from PIL import Image as Pictures
from PIL import ImageOps

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.logs import get_logger

_AT_ONCE = 256

logger = get_logger(__name__)


def readable_rows(
    data: Dataset, column: str, modality: str, *, split: str, rows: Sequence[int], skip: bool
) -> tuple[Dataset, int]:
    """The rows whose input can be read, and how many cannot.

    Args:
        data: The split.
        column: Its input column.
        modality: What the column holds.
        split: Its name, for the message.
        rows: What the message calls each row, of length len(data).
        skip: Leave unreadable rows out; otherwise the first one is an error.

    Raises:
        DataError: When a row cannot be read and ``skip`` is False, or none can.
    """
    bad: list[int] = []
    dull = 0
    for row, value in enumerate(by_batch(undecoded(data, column, modality))):
        problem, constant = looked_at(value, modality)
        dull += constant
        if problem is None:
            continue
        if not skip:
            raise unreadable(rows[row], split, column, problem)
        bad.append(row)
    tell_looks(split, column, modality, rows=len(data), dull=dull, bad=len(bad))
    if not bad:
        return data, 0
    spoiled = set(bad)
    return data.select([row for row in range(len(data)) if row not in spoiled]), len(bad)


def unreadable(row: int, split: str, column: str, problem: str) -> DataError:
    """What is said of a row that cannot be read, by its place in its split."""
    return DataError(
        f"Row {row} of {split} cannot be read: {problem} in column {column!r}. Mend it, or leave such rows out with "
        "--skip_bad_rows."
    )


def tell_looks(split: str, column: str, modality: str, *, rows: int, dull: int, bad: int) -> None:
    """Says how many rows are the same everywhere.

    Args:
        split: The rows' split.
        column: Their input column.
        modality: What it holds.
        rows: How many were looked at.
        dull: How many of them show one colour, or are silent.
        bad: How many cannot be read.

    Raises:
        DataError: When none can be read.
    """
    if dull:
        what = "pictures of one colour" if modality == "image" else "silent"
        logger.warning(f"{dull} of {rows} rows of {split} are {what} in column {column!r}.")
    if rows and bad == rows:
        raise DataError(f"No row of {split} can be read in column {column!r}.")


def by_batch(column: Sequence[Any]) -> Iterator[Any]:
    """The values one after the other; read many at a time, for one at a time takes a hundred times as long."""
    for start in range(0, len(column), _AT_ONCE):
        yield from column[start : start + _AT_ONCE]


def undecoded(data: Dataset, column: str, modality: str) -> Any:
    """The column's values without decoding: bytes and path of images and sounds, text as it is."""
    feature = data.features[column]
    if isinstance(feature, Image):
        data = data.cast_column(column, Image(decode=False))
    elif isinstance(feature, Audio):
        data = data.cast_column(column, Audio(decode=False))
    return data[column]


def problem_of(value: Any, modality: str) -> str | None:
    """Why a value cannot be read, or None when it can."""
    return looked_at(value, modality)[0]


def looked_at(value: Any, modality: str) -> tuple[str | None, bool]:
    """Why a value cannot be read, or None when it can, and whether it is the same everywhere: one colour, or silent."""
    if value is None:
        return "nothing is there", False
    if modality == "text":
        return (None if "".join(value).strip() else "the text is empty"), False
    try:
        decoded: Any = rgb_image(value) if modality == "image" else mono_wave(value)
    except Exception as error:
        words = str(error).splitlines()[0][:80] if str(error) else "no further words"
        return f"{type(error).__name__} ({words})", False
    if not getattr(decoded, "size", 1):
        return "it is empty", False
    if modality == "image":
        return None, all(low == high for low, high in decoded.getextrema())
    if not np.isfinite(decoded).all():
        return f"{int((~np.isfinite(decoded)).sum())} of its {decoded.size} samples are no finite numbers", False
    return None, float(np.ptp(decoded)) == 0


def rgb_image(value: Any) -> Pictures.Image:
    """A PIL image in RGB from what ``datasets`` stores (bytes or path) or has decoded: upright, of 8 bits a channel."""
    value = ImageOps.exif_transpose(opened_image(value))
    if value.mode.startswith("I") or value.mode == "F":
        value = Pictures.fromarray(_of_eight_bits(np.asarray(value)))
    return value.convert("RGB")


def opened_image(value: Any) -> Pictures.Image:
    """What ``datasets`` stores (bytes or path) or has decoded as a PIL image, as it is."""
    if isinstance(value, Mapping):
        return Pictures.open(io.BytesIO(value["bytes"]) if value.get("bytes") is not None else value["path"])
    return Pictures.fromarray(value) if isinstance(value, np.ndarray) else value


def _of_eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey values of more bits as uint8: whole numbers beyond 255 are of 16 bits, fractions up to 1 are shares."""
    values = np.nan_to_num(values.astype(np.float64))
    top = values.max(initial=0)
    if top > 255:
        values = values / 257 if top <= 65_535 else values * (255 / top)
    elif top <= 1 and (values % 1).any():
        values = values * 255
    return values.round().clip(0, 255).astype(np.uint8)


def mono_wave(value: Any, sampling_rate: int | None = None) -> np.ndarray:
    """A wave of shape (samples,), float32 in [-1, 1], channels averaged, at ``sampling_rate`` (Hz) where given."""
    wave, rate = _wave_and_rate(value)
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim == 2:
        wave = wave.mean(axis=1)
    if sampling_rate is not None and rate != sampling_rate:
        from scipy.signal import resample_poly

        common = gcd(int(rate), int(sampling_rate))
        wave = resample_poly(wave, sampling_rate // common, rate // common).astype(np.float32)
    return wave


def _wave_and_rate(value: Any) -> tuple[np.ndarray, int]:
    if isinstance(value, Mapping) and "array" in value:
        return value["array"], value["sampling_rate"]
    soundfile = require_soundfile()
    source = io.BytesIO(value["bytes"]) if value.get("bytes") is not None else value["path"]
    return soundfile.read(source, dtype="float32")


def require_soundfile() -> Any:
    """The soundfile module.

    Raises:
        DataError: When the audio extra is not installed.
    """
    try:
        import soundfile
    except ImportError as error:
        raise DataError('Sounds need the audio extra: pip install "hf_transfer_kit[audio]".') from error
    return soundfile
