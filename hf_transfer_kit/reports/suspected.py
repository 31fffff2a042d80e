"""Labels to look at: where the rows lie in what the user gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_transfer_kit.data import LoadedData, raw_rows
from hf_transfer_kit.values import SuspectedLabel

_SHOWN = 5
_WIDE = 60


def located(found: Sequence[SuspectedLabel], data: LoadedData) -> tuple[SuspectedLabel, ...]:
    """The rows by their place in the split as it was given, with the names of their files.

    Texts and pictures themselves stay out of reports, which are shared.

    Args:
        found: Rows by their place in ``data.train``.
        data: The splits as loaded.

    Example:
        >>> located(suspected, loaded)[0].row >= 0
        True
    """
    places = data.given_rows.get("train")
    stored: Any = raw_rows(data, "train") if data.modality != "text" else {}
    return tuple(
        replace(
            suspect,
            row=suspect.row if places is None else places[suspect.row],
            file=_file(stored[suspect.row]) if data.modality != "text" else "",
        )
        for suspect in found
    )


def suspected_lines(found: Sequence[SuspectedLabel], data: LoadedData) -> list[str]:
    """The first of them for the console, with the beginning of their texts.

    Example:
        >>> len(suspected_lines(suspected, loaded))
        2
    """
    texts = raw_rows(data, "train") if data.modality == "text" else None
    lines = []
    for suspect, place in zip(found[:_SHOWN], located(found, data), strict=False):
        shown = place.file if texts is None else str(texts[suspect.row])[:_WIDE]
        lines.append(
            f"  row {place.row}: labelled {place.label!r}, looks like {place.likelier!r}{shown and f' - {shown}'}"
        )
    if not lines:
        return []
    return [f"{len(found)} training rows whose label the others contradict; all in the report:", *lines]


def _file(stored: object) -> str:
    path = stored.get("path") if isinstance(stored, Mapping) else None
    return Path(path).name if path else ""
