"""Advice before training: its report, page and pictures."""

from hf_transfer_kit.reports.advice.report import advice_report

__all__ = [
    "advice_report",
]
