"""A report as the console shows it."""

from __future__ import annotations

from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import sections_of
from hf_transfer_kit.reports.verdicts import verdict_lines


def report_text(report: TransferReport) -> str:
    """The tables of a report, its verdicts, and its notes.

    Example:
        >>> print(report_text(report))
        transfer: ...
        Transfer helped by 25.0 points.
    """
    tables = [section.table(report, found) for section, found in sections_of(report)]
    title = ": ".join(filter(None, (report.recipe, report.title)))
    return "\n".join(filter(None, [title, *tables, *verdict_lines(report), *report.notes]))
