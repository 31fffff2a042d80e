"""What was judged on test rows, in one form for every recipe."""

from __future__ import annotations

from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import sections_of
from hf_transfer_kit.values import Verdict


def all_verdicts(report: TransferReport) -> tuple[Verdict, ...]:
    """Every verdict of a report, that on what was chosen first; other sources aside.

    Example:
        >>> [verdict.outcome for verdict in all_verdicts(report)]
        ['helped']
    """
    found = [report.verdict]
    for section, findings in sections_of(report):
        found += section.verdicts(findings)
    return tuple(verdict for place, verdict in enumerate(found) if verdict and verdict not in found[:place])


def verdict_lines(report: TransferReport) -> list[str]:
    """For the console: the verdict on what was chosen, of several tasks on each, or why there is none.

    Example:
        >>> verdict_lines(report)
        ['Transfer helped by 25.0 points.']
    """
    found = [report.verdict] if report.verdict else []
    found = found or [verdict for verdict in all_verdicts(report) if verdict.winner == report.winner]
    return [verdict.sentence for verdict in found] or [line for line in (report.no_verdict,) if line]
