"""The three files of a run that is not over, and how they are told from a finished one's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_transfer_kit.hub.card import TransferCard
from hf_transfer_kit.hub.manifest import foreign_files
from hf_transfer_kit.hub.metadata import UNFINISHED
from hf_transfer_kit.hub.placing import written_beside
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.reports import TransferReport, write_report

_FILES = ("README.md", "report.html", "report.json")


def write_unfinished(folder: Path, report: TransferReport, base_model: str | None, *, overwrite: bool = False) -> None:
    """Writes the three files, each whole or not at all; none where one of them is not the kit's, which is told.

    Args:
        folder: Made when absent.
        report: Of the run so far.
        base_model: Hub name of the pretrained network, for the card.
        overwrite: Whether files of others are replaced.
    """
    if not overwrite and (foreign := foreign_files(folder, _FILES)):
        # A run is not stopped for this: its results find a place at the end.
        get_logger(__name__).warning(
            "%s in %s is not what this kit wrote, so card and report of the unfinished run are not kept there.",
            ", ".join(foreign),
            folder,
        )
        return
    with written_beside(folder, overwrite=overwrite) as staged:
        write_report(staged, report)
        TransferCard.from_report(report, base_model=base_model).save(staged / "README.md")


def is_unfinished(folder: Path) -> bool:
    """Whether the folder's report is one of a run that did not end (``KeepReport``, ``KeepRaceReport``)."""
    try:
        values: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    return isinstance(values, dict) and UNFINISHED in (values.get("data") or {})
