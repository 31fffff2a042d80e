"""What a page and a card say of a comparison of adaptation methods."""

from __future__ import annotations

from typing import Any

from hf_transfer_kit.adaptation.scores import SCORES
from hf_transfer_kit.values import Adaptation, AdaptationResult

BASELINES = ("source_only", "source_model")
"""What a method is held against: trained on the source alone, or, without source rows, the network as it comes."""


def adaptation_words(adaptation: Adaptation) -> dict[str, Any]:
    """What templates read beside the values themselves.

    Returns:
        ``chosen``, ``baseline`` and ``bound``: the results of the chosen method, of ``source_only`` and of the first
        that learns from target labels, the last two None where they were not run; ``labelled``: whether there is
        accuracy on the target; ``sentence`` and ``outcome``; ``scores``: name -> ``TargetScore``, None for those of
        others.

    Example:
        >>> adaptation_words(adaptation)["outcome"]
        'helped'
    """
    names = {name: None for result in adaptation.results for name in result.scores}
    return {
        "chosen": adaptation.result(adaptation.chosen),
        "baseline": source_only(adaptation),
        "bound": next((result for result in adaptation.results if result.uses_target_labels), None),
        "labelled": any(result.test for result in adaptation.results),
        "sentence": adaptation_sentence(adaptation),
        "outcome": adaptation_outcome(adaptation),
        "scores": {name: SCORES.get(name) for name in names},
        "mixing": domains_told_apart(adaptation),
        "unknown": unknown_sentence(adaptation),
    }


def unknown_sentence(adaptation: Adaptation) -> str:
    """What the kept network rejects, at which price, and by what that was chosen; empty where it rejects nothing.

    Example:
        >>> unknown_sentence(adaptation)
        ''
    """
    found = adaptation.unknown_rows
    if found is None:
        return ""
    limit = f"confidence below {-found.threshold:.3g}"  # the score is its negative
    if found.score != "confidence":
        limit = f"{found.score} above {found.threshold:.3g}"
    words = (
        f"Rows with {limit} are rejected: {found.source_rejected:.1%} of the "
        f"source's validation rows and {found.target_rejected:.1%} of the target's. Score and price were chosen with a "
        f"network that was not taught {', '.join(found.held_out)}. It ranked those rows behind the others with an area "
        f"under the ROC curve of {found.held_out_auroc:.3f}, and would have rejected {found.held_out_rejected:.1%} of "
        "them."
    )
    if found.test:
        return words
    return f"{words} How many rejected rows of the target are of unknown classes is not known: no labels tell it."


def domains_told_apart(adaptation: Adaptation) -> str:
    """How well a linear classifier tells the domains of the features apart, before and after; empty where unknown."""
    said = [
        f"{result.scores['proxy_a']:.2f} {words}"
        for result, words in (
            (source_only(adaptation), "trained on the source alone"),
            (adaptation.result(adaptation.chosen), f"with {adaptation.chosen}"),
        )
        if result is not None and "proxy_a" in result.scores
    ]
    if not said:
        return ""
    return f"How well the domains can be told apart (0: not at all, 2: always): {', '.join(dict.fromkeys(said))}."


def better_but_not_kept(adaptation: Adaptation) -> tuple[str, ...]:
    """Says where aligned frozen features, which leave no network to keep, did better than what was chosen."""
    chosen, name = adaptation.result(adaptation.chosen), adaptation.selected_by
    found = []
    for result in adaptation.results:
        if result.kept_steps or result.uses_target_labels or result.method == adaptation.chosen:
            continue
        figures = []
        if name in SCORES and name in result.scores and name in chosen.scores:
            sign = 1 if SCORES[name].larger_is_better else -1
            if sign * (result.scores[name] - chosen.scores[name]) > 0:
                figures.append(f"{name} {result.scores[name]:.3f} against {chosen.scores[name]:.3f}")
        if result.test and chosen.test and result.test["accuracy"] > chosen.test["accuracy"]:
            figures.append(
                f"{100 * result.test['accuracy']:.1f} % of the target's test rows against "
                f"{100 * chosen.test['accuracy']:.1f} %"
            )
        if figures:
            found.append(
                f"{result.method} is better than {chosen.method} ({'; '.join(figures)}) and was not chosen, because it "
                "leaves no network: it aligns frozen features once. Its features and probe are had with "
                "hf_transfer_kit.adaptation.shallow_adaptation."
            )
    return tuple(found)


def adaptation_sentence(adaptation: Adaptation) -> str:
    """What was reached: target accuracy against ``source_only`` and the upper bound, or that there are no labels."""
    chosen = adaptation.result(adaptation.chosen)
    if not chosen.test:
        kept = (
            "Its last weights were kept."
            if adaptation.selected_by == "last"
            else f"It was chosen by {adaptation.selected_by}."
        )
        return (
            f"{adaptation.target_name} has no labels, so the accuracy of {chosen.method} there is not known, and only "
            f"scores that need no labels are shown. {kept}"
        )
    words = f"{chosen.method} reaches {_mean_and_spread(chosen)} on {adaptation.target_name}'s test rows"
    baseline = source_only(adaptation)
    if chosen is baseline:
        words += ": it learns from the source alone, no adaptation was chosen"
    elif baseline is not None:
        words += f", {_against(chosen, baseline)} {baseline.method} ({_mean_and_spread(baseline)})"
    for result in adaptation.results:
        if result.uses_target_labels and result.test:
            words += f"; {result.method}, which learns from the target's labels, reaches {_mean_and_spread(result)}"
    seeds = len(chosen.seeds)
    return words + (f" (mean ± standard deviation of {seeds} seeds)." if seeds > 1 else " (one seed).")


def adaptation_outcome(adaptation: Adaptation) -> str:
    """Of the chosen method's verdict: ``"helped"``, ``"hurt"`` or ``"undecided"``; the last where there is none."""
    verdict = adaptation.result(adaptation.chosen).verdict
    return verdict.outcome if verdict else "undecided"


def source_only(adaptation: Adaptation) -> AdaptationResult | None:
    """The result without adaptation, where it was run."""
    return next((result for result in adaptation.results if result.method in BASELINES), None)


def _mean_and_spread(result: AdaptationResult) -> str:
    accuracy = f"{100 * result.test['accuracy']:.1f}"
    return f"{accuracy} ± {100 * result.test_spread['accuracy']:.1f} %" if len(result.seeds) > 1 else f"{accuracy} %"


def _against(result: AdaptationResult, baseline: AdaptationResult) -> str:
    points = round(100 * (result.test["accuracy"] - baseline.test["accuracy"]), 1)
    if points == 0:
        return "the same as"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'}"


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
