"""Classes never seen: their report, page, card and pictures."""

from hf_transfer_kit.reports.zero_shot.report import zero_shot_report, zero_shot_table
from hf_transfer_kit.reports.zero_shot.words import zero_shot_words

__all__ = [
    "zero_shot_report",
    "zero_shot_table",
    "zero_shot_words",
]
