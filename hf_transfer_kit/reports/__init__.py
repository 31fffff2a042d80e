"""Results in, words and pictures out; nothing here trains."""

from hf_transfer_kit.reports.comparison import comparison_report, strategy_table
from hf_transfer_kit.reports.html import html_report, write_report
from hf_transfer_kit.reports.report import TransferReport, library_versions, read_report

__all__ = [
    "TransferReport",
    "comparison_report",
    "html_report",
    "library_versions",
    "read_report",
    "strategy_table",
    "write_report",
]
