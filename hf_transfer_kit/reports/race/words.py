"""What a page says of a race."""

from __future__ import annotations

from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.values import StrategyResult


def winner_of(report: TransferReport) -> StrategyResult | None:
    """The result of the chosen strategy; None where no race was run."""
    return next((result for result in report.results if result.strategy == report.winner), None)
