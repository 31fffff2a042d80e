"""What a page and a card say of classes never seen."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

from hf_transfer_kit.values import UnseenClasses, ZeroShotResult


def zero_shot_words(found: UnseenClasses) -> dict[str, Any]:
    """What templates read beside the values themselves.

    Returns:
        ``chosen``: the chosen result; ``sentence``, ``calibration`` and ``outcome``; ``labelled``: mean accuracy of a
        classifier that had the unseen classes' labels, or None; ``shown``: result and figure -> text;
        ``uncalibrated``: result -> accuracy on unseen classes among all without calibration.

    Example:
        >>> zero_shot_words(unseen_classes)["outcome"]
        'helped'
    """
    chosen = found.result(found.chosen)
    return {
        "chosen": chosen,
        "sentence": zero_shot_sentence(found),
        "calibration": calibration_sentence(chosen),
        "outcome": zero_shot_outcome(found),
        "labelled": fmean(found.labelled) if found.labelled else None,
        "shown": shown,
        "uncalibrated": uncalibrated_unseen,
    }


def zero_shot_sentence(found: UnseenClasses) -> str:
    """How often unseen classes are named rightly, against chance and against having their labels."""
    chosen = found.result(found.chosen)
    words = (
        f"{chosen.name} names {shown(chosen, 'unseen_accuracy')} of rows of classes it never saw rightly, among "
        f"{len(found.unseen[0])} such classes; guessing names {100 * found.chance:.1f} %"
    )
    if found.labelled:
        words += f", a classifier that has their labels {100 * fmean(found.labelled):.1f} %"
    if len(found.unseen) == 1:
        return words + " (one split of the classes)."
    return words + f" (mean ± standard deviation of {len(found.unseen)} splits of the classes)."


def calibration_sentence(result: ZeroShotResult) -> str:
    """What is reached among all classes, before and after the scores of seen ones are lowered."""
    before = {
        name: fmean(split.uncalibrated[name] for split in result.splits) for name in result.splits[0].uncalibrated
    }
    return (
        f"Among all classes, {100 * before['generalised_unseen_accuracy']:.1f} % of rows of unseen and "
        f"{100 * before['generalised_seen_accuracy']:.1f} % of seen classes are named rightly without calibration "
        f"(harmonic mean {before['harmonic_mean']:.2f}), "
        f"{100 * result.mean('generalised_unseen_accuracy'):.1f} % and "
        f"{100 * result.mean('generalised_seen_accuracy'):.1f} % with it ({result.mean('harmonic_mean'):.2f})."
    )


def uncalibrated_unseen(result: ZeroShotResult) -> float:
    """Accuracy on unseen classes, named among all, without calibration; mean over the splits."""
    return fmean(split.uncalibrated["generalised_unseen_accuracy"] for split in result.splits)


def zero_shot_outcome(found: UnseenClasses) -> str:
    """``"helped"`` or ``"hurt"`` where unseen classes are named better, or worse, than by guessing by more than two
    standard errors over the splits; ``"unclear"`` otherwise, and with fewer than three splits.
    """
    values = [split.unseen_accuracy for split in found.result(found.chosen).splits]
    if len(values) < 3:
        return "unclear"
    difference, error = fmean(values) - found.chance, stdev(values) / len(values) ** 0.5
    if abs(difference) <= 2 * error:
        return "unclear"
    return "helped" if difference > 0 else "hurt"


def shown(result: ZeroShotResult, figure: str) -> str:
    """Mean and spread of a figure for people: a percentage."""
    return result.shown(figure)


def why_not_named(found: UnseenClasses) -> str:
    """Why the chosen method has no verdict; empty where it has one."""
    if found.verdict is not None:
        return ""
    return f"There is nothing to judge {found.chosen} against: it was the only method."
