"""The three files of a run that is not over, and how they are told from a finished one's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hf_transfer_kit.hub.card import TransferCard
from hf_transfer_kit.hub.metadata import UNFINISHED
from hf_transfer_kit.reports import TransferReport, write_report


def write_unfinished(folder: Path, report: TransferReport, base_model: str | None) -> None:
    """Writes the three files, each whole or not at all."""
    staged = folder / ".unfinished-report"
    staged.mkdir(parents=True, exist_ok=True)
    write_report(staged, report)
    TransferCard.from_report(report, base_model=base_model).save(staged / "README.md")
    for name in ("README.md", "report.html", "report.json"):
        os.replace(staged / name, folder / name)
    staged.rmdir()


def is_unfinished(folder: Path) -> bool:
    """Whether the folder's report is one of a run that did not end (``KeepReport``, ``KeepRaceReport``)."""
    try:
        values: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    return isinstance(values, dict) and UNFINISHED in (values.get("data") or {})
