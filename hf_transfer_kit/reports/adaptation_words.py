"""What a page and a card say of a comparison of adaptation methods."""

from __future__ import annotations

from typing import Any

from hf_transfer_kit.adaptation.scores import SCORES
from hf_transfer_kit.values import Adaptation, AdaptationResult


def adaptation_words(adaptation: Adaptation) -> dict[str, Any]:
    """What templates read beside the values themselves.

    Returns:
        ``chosen``, ``baseline`` and ``bound``: the results of the chosen method, of ``source_only`` and of the first
        that learns from target labels, the last two None where they were not run; ``labelled``: whether there is
        accuracy on the target; ``sentence`` and ``outcome``; ``scores``: name -> ``TargetScore``, None for those of
        others.
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
    }


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
        words += f", {_against(chosen, baseline)} source_only ({_mean_and_spread(baseline)})"
    for result in adaptation.results:
        if result.uses_target_labels and result.test:
            words += f"; {result.method}, which learns from the target's labels, reaches {_mean_and_spread(result)}"
    seeds = len(chosen.seeds)
    return words + (f" (mean ± standard deviation of {seeds} seeds)." if seeds > 1 else " (one seed).")


def adaptation_outcome(adaptation: Adaptation) -> str:
    """``"helped"`` or ``"hurt"`` where every seed of the chosen method beats, or loses to, every seed of
    ``source_only`` on the target's test rows; ``"unclear"`` otherwise.
    """
    chosen, baseline = adaptation.result(adaptation.chosen), source_only(adaptation)
    if baseline is None or chosen is baseline or not (chosen.test_by_seed and baseline.test_by_seed):
        return "unclear"
    if min(chosen.test_by_seed) > max(baseline.test_by_seed):
        return "helped"
    return "hurt" if max(chosen.test_by_seed) < min(baseline.test_by_seed) else "unclear"


def source_only(adaptation: Adaptation) -> AdaptationResult | None:
    """The result without adaptation, where it was run."""
    return next((result for result in adaptation.results if result.method == "source_only"), None)


def _mean_and_spread(result: AdaptationResult) -> str:
    accuracy = f"{100 * result.test['accuracy']:.1f}"
    return f"{accuracy} ± {100 * result.test_spread['accuracy']:.1f} %" if len(result.seeds) > 1 else f"{accuracy} %"


def _against(result: AdaptationResult, baseline: AdaptationResult) -> str:
    points = round(100 * (result.test["accuracy"] - baseline.test["accuracy"]), 1)
    if points == 0:
        return "the same as"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'}"
