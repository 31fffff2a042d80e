"""What a page says of a race: who won, and how sure the choice is."""

from __future__ import annotations

from statistics import NormalDist

from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.values import StrategyResult

_CONFIDENCE = 0.95


def winner_of(report: TransferReport) -> StrategyResult | None:
    """The result of the chosen strategy; None where no race was run."""
    return next((result for result in report.results if result.strategy == report.winner), None)


def choice_sentence(report: TransferReport) -> str:
    """Which other strategies chance alone, in drawing the validation rows, could have put first.

    The interval is Wilson's (1927, "Probable inference, the law of succession, and statistical inference") for the
    share of validation rows that the chosen strategy says rightly. Empty where there was no choice, where another
    metric than accuracy chose, or where the number of rows is not known.
    """
    winner = winner_of(report)
    rows = report.data.get("sizes", {}).get("validation")
    others = [result for result in report.results if result is not winner]
    of_classes = report.data.get("task_type", CLASSIFICATION) == CLASSIFICATION
    if winner is None or not others or not rows or winner.metric != "accuracy" or not of_classes:
        return ""
    value = winner.validation["accuracy"]
    low, high = wilson_interval(value, rows)
    near = [result.strategy for result in others if result.validation["accuracy"] >= low]
    words = (
        f"On {rows:,} validation rows {winner.strategy} reached {100 * value:.1f} %, of which chance in the rows alone "
        f"allows {100 * low:.1f} to {100 * high:.1f} % (95 % interval). "
    )
    if not near:
        return f"{words}No other strategy is inside: the choice is clearer than that chance."
    return f"{words}{', '.join(near)} {'is' if len(near) == 1 else 'are'} inside: the choice is within the noise."


def wilson_interval(share: float, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share that was counted in so many rows, by Wilson's score.

    Args:
        share: In [0, 1].
        rows: At least one.

    Returns:
        Its ends, in [0, 1].
    """
    z = NormalDist().inv_cdf(0.5 + _CONFIDENCE / 2)
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    reach = z / (1 + z**2 / rows) * (share * (1 - share) / rows + z**2 / (4 * rows**2)) ** 0.5
    return max(0.0, centre - reach), min(1.0, centre + reach)
