"""A race of strategies: its report, page and pictures."""

from hf_transfer_kit.reports.race.report import comparison_report, strategy_table

__all__ = [
    "comparison_report",
    "strategy_table",
]
