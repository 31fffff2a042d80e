"""Several tasks on one trunk: their report, page, card and pictures."""

from hf_transfer_kit.reports.multitask.report import described_tasks, multitask_report, multitask_table
from hf_transfer_kit.reports.multitask.words import multitask_words

__all__ = [
    "described_tasks",
    "multitask_report",
    "multitask_table",
    "multitask_words",
]
