"""What searches of the depth to freeze add to pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_transfer_kit.reports.depth.pictures import depth_alt_text, depth_picture
from hf_transfer_kit.reports.depth.report import depth_table
from hf_transfer_kit.reports.pictures import svg_text
from hf_transfer_kit.reports.race.words import winner_of
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import Section
from hf_transfer_kit.values import DepthSearch


def _words(report: TransferReport, found: tuple[DepthSearch, ...]) -> Mapping[str, Any]:
    return {"winner": winner_of(report), "alt_texts": [depth_alt_text(search) for search in found]}


SECTION = Section(
    name="depth",
    order=40,
    find=lambda report: report.depth_searches,
    table=lambda report, found: "\n".join(map(depth_table, found)),
    words=_words,
    pictures=lambda report, found, narrow: {
        f"depth-{number}": svg_text(depth_picture(search, narrow=narrow)) for number, search in enumerate(found, 1)
    },
)
