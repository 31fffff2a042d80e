"""The worst mistakes on test rows, with what the rows show: for the page alone, and small."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hf_transfer_kit.data import LoadedData, raw_rows
from hf_transfer_kit.data.decoding import rgb_image
from hf_transfer_kit.values import Mistake

_MOST = 20
_LONGEST_TEXT = 300
_SIDE = 96  # pixels
_MOST_BYTES = 40_000


def worst_mistakes(
    true: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    data: LoadedData,
    *,
    behind: LoadedData | None = None,
    examples: bool = True,
) -> tuple[Mistake, ...]:
    """The twenty rows that were named wrongly with the highest probability, that first.

    Args:
        true: Class of each test row, of shape (rows,).
        predicted: The class that was named, likewise.
        probabilities: Of that class, likewise.
        data: The splits as loaded, whose test rows these are.
        behind: Further data whose test rows come after those of ``data``, as of old classes; each counts its own.
        examples: Whether texts and pictures (JPEG, no side above 96 pixels) are taken along. Of sounds only files are
            named.

    Example:
        >>> said = np.zeros(271, dtype=int)
        >>> found = worst_mistakes(said + 1, said, np.linspace(0.5, 1, 271), loaded)
        >>> len(found), found[0].row, found[0].probability
        (20, 270, 1.0)
    """
    wrong = np.flatnonzero(true != predicted)
    worst = wrong[np.argsort(-probabilities[wrong], kind="stable")][:_MOST]
    parts = [data] if behind is None else [data, behind]
    stored = [raw_rows(part, "test") if len(worst) else () for part in parts]

    def told(row: int) -> dict[str, Any]:
        """Its number in the split as it was given, and what it shows."""
        part = int(row >= len(data.test) and behind is not None)
        row -= part * len(data.test)
        places = parts[part].given_rows.get("test")
        number = row if places is None else places[row]
        return {"row": number, **_shown(stored[part][row], data.modality, examples=examples)}

    return tuple(
        Mistake(
            label=data.label_names[true[row]],
            predicted=data.label_names[predicted[row]],
            probability=float(probabilities[row]),
            **told(int(row)),
        )
        for row in worst
    )


def _shown(value: Any, modality: str, *, examples: bool) -> dict[str, Any]:
    if modality == "text":
        text = value if isinstance(value, str) else " | ".join(map(str, value))
        short = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
        return {"shown": "text", "text": short} if examples else {}
    path = value.get("path") if isinstance(value, dict) else None
    file = {"file": Path(path).name if path else ""}
    if modality != "image" or not examples:
        return file
    picture = thumbnail(rgb_image(value))
    return {**file, "shown": "picture", "picture": picture} if len(picture) <= _MOST_BYTES else file


def thumbnail(image: Image.Image) -> bytes:
    """A picture as JPEG, no side above 96 pixels, without what a camera noted in it."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()
