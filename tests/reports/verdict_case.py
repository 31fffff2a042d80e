"""Made-up verdicts, for tests of pages, cards and words."""

from __future__ import annotations

from hf_transfer_kit.values import Verdict


def verdict(winner: str, baseline: str, outcome: str, difference: float, **changes) -> Verdict:
    """One whose interval says what ``outcome`` says."""
    reach = {"helped": 0.5, "hurt": 0.5, "undecided": 1.5}[outcome] * abs(difference)
    given = {"winner_runs": (0.7, 0.8), "baseline_runs": (0.6, 0.65)}
    sentence = f"{winner} {outcome} against {baseline}."
    low, high = difference - reach, difference + reach
    return Verdict(winner, baseline, difference, low, high, 0.95, outcome, sentence, **{**given, **changes})
