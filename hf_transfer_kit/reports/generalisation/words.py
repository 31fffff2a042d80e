"""What a page and a card say of several sources: what a new domain can expect, and how sure the choice is."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

from hf_transfer_kit.values import Generalisation


def generalisation_words(found: Generalisation) -> dict[str, Any]:
    """What templates read beside the values themselves.

    Returns:
        ``chosen``: the result of the chosen method; ``sentence``: what a new domain can expect; ``choice``: how far the
        next method was behind; ``alike``: what two sources cannot tell ("" with more); ``tested``: what the saved
        method reached on test rows; ``mean``: the mean of a sequence.

    Example:
        >>> generalisation_words(generalisation)["chosen"].method
        'joint:average=swad'
    """
    return {
        "chosen": found.result(found.chosen),
        "sentence": expectation(found),
        "choice": choice_sentence(found),
        "alike": alike_sentence(found),
        "tested": tested_sentence(found),
        "mean": fmean,
    }


def expectation(found: Generalisation) -> str:
    """The range of accuracies on sources that were left out, beside that on the sources learned from."""
    result = found.result(found.chosen)
    figures = result.by_domain
    low, high = figures[result.worst], figures[result.best]
    others = "the other source" if len(found.sources) == 2 else f"the other {len(found.sources) - 1} sources"
    return (
        f"On a new domain expect {100 * low:.1f} to {100 * high:.1f} %: what {found.chosen} reached on {result.worst} "
        f"and on {result.best} when it was trained on {others} (mean of all left out {100 * result.mean:.1f} %). On "
        f"rows like those that they learned from the same networks reached {100 * result.known:.1f} %."
    )


def tested_sentence(found: Generalisation) -> str:
    """What the chosen method, trained on all sources, reached on test rows of the sources and of the unseen domain."""
    known = [fmean(each) for each in zip(*found.known.values(), strict=True)]
    words = f"Trained on all sources, {found.chosen} reaches {_mean_and_spread(known)} on the sources' test rows"
    if not found.unseen:
        return f"{words}; no domain was kept for a last figure."
    result = found.result(found.chosen)
    low, high = result.by_domain[result.worst], result.by_domain[result.best]
    value = fmean(found.unseen)
    place = "below" if value < low else "above" if value > high else "inside"
    return (
        f"{words} and {_mean_and_spread(found.unseen)} on those of {found.unseen_name}, on which nothing was learned "
        f"or chosen: {place} the range that the sources left out foretold."
    )


def choice_sentence(found: Generalisation) -> str:
    """How far the next method was behind, and whether that is more than what chance moves a mean by."""
    result = found.result(found.chosen)
    others = [other for other in found.results if other.method != found.chosen]
    if not others:
        return f"{found.chosen} was the only method."
    second = max(others, key=lambda other: other.mean)
    behind = 100 * (result.mean - second.mean)
    words = f"{found.chosen} has the best mean over the sources left out; {second.method} comes next, "
    words += f"{behind:.1f} points behind" if round(behind, 1) else "level with it"
    if len(result.seeds) == 1:
        return f"{words}. One seed cannot tell whether that is chance."
    spread = 100 * max(result.spread, second.spread)
    verdict = "more than" if behind > spread else "no more than"
    return (
        f"{words}: {verdict} the {spread:.1f} points by which such a mean varies over {len(result.seeds)} seeds "
        "(standard deviation)."
    )


def alike_sentence(found: Generalisation) -> str:
    """With two sources: which methods leaving one out cannot tell from each other."""
    if len(found.sources) != 2:
        return ""
    words = (
        "There are two sources, so a network that leaves one out learns from a single one: that is harder than what "
        "the saved network does"
    )
    if not found.alike:
        return f"{words}."
    return (
        f"{words}, and {', '.join(found.alike)} are one and the same there (no pair of sources, one weight, one set of "
        "statistics). They ran once, and leaving one out cannot choose among them: the first given stands for all."
    )


def _mean_and_spread(values: list[float] | tuple[float, ...]) -> str:
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.1f}{spread} %"


def why_not_generalised(found: Generalisation) -> str:
    """Why the chosen method has no verdict; empty where it has one."""
    if found.result(found.chosen).verdict is not None:
        return ""
    if found.chosen == "joint":
        return "There is nothing to judge: the chosen method, joint, is plain training on all sources."
    return f"Whether {found.chosen} helped is not judged: joint did not run beside it, or is the same with two sources."
