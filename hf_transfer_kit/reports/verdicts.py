"""What was judged on test rows, in one form for every recipe."""

from __future__ import annotations

from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.values import Adaptation, Generalisation, MultiTasking, UnseenClasses, Verdict


def all_verdicts(report: TransferReport) -> tuple[Verdict, ...]:
    """Every verdict of a report, that on what was chosen first; other sources aside.

    Example:
        >>> [verdict.outcome for verdict in all_verdicts(report)]
        ['helped']
    """
    found = [report.verdict]
    for comparison in (report.adaptation, report.generalisation):
        found += [result.verdict for result in comparison.results] if comparison else []
    if report.multitasking:
        chosen = report.multitasking.chosen
        for result in sorted(report.multitasking.results, key=lambda result: result.method != chosen):
            found += result.verdicts.values()
    return tuple(verdict for place, verdict in enumerate(found) if verdict and verdict not in found[:place])


def verdict_lines(report: TransferReport) -> list[str]:
    """For the console: the verdict on what was chosen, of several tasks on each, or why there is none.

    Example:
        >>> verdict_lines(report)
        ['Transfer helped by 25.0 points.']
    """
    found = [report.verdict] if report.verdict else []
    if report.multitasking:
        found = list(report.multitasking.result(report.multitasking.chosen).verdicts.values())
    return [verdict.sentence for verdict in found] or [line for line in (report.no_verdict,) if line]


def why_not_adapted(adaptation: Adaptation) -> str:
    """Why the chosen method has no verdict; empty where it has one."""
    chosen = adaptation.result(adaptation.chosen)
    if chosen.verdict is not None:
        return ""
    if not chosen.test:
        return f"Whether adapting helped is not judged: test rows of {adaptation.target_name} have no labels."
    if chosen.method.partition(":")[0] in ("source_only", "source_model"):
        return f"There is nothing to judge: the chosen {chosen.method} does not adapt."
    return (
        "Whether adapting helped is not judged: what does not adapt (source_only, source_model) did not run beside it."
    )


def why_not_together(found: MultiTasking) -> str:
    """Why no task has a verdict; empty where one has."""
    if found.result(found.chosen).verdicts:
        return ""
    return "Whom sharing helps or hurts is not judged: no task was trained alone beside it (single)."


def why_not_generalised(found: Generalisation) -> str:
    """Why the chosen method has no verdict; empty where it has one."""
    if found.result(found.chosen).verdict is not None:
        return ""
    if found.chosen == "joint":
        return "There is nothing to judge: the chosen method, joint, is plain training on all sources."
    return f"Whether {found.chosen} helped is not judged: joint did not run beside it, or is the same with two sources."


def why_not_named(found: UnseenClasses) -> str:
    """Why the chosen method has no verdict; empty where it has one."""
    if found.verdict is not None:
        return ""
    return f"There is nothing to judge {found.chosen} against: it was the only method."
