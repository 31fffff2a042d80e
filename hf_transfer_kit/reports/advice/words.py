"""What a page says of advice in one sentence."""

from __future__ import annotations

from hf_transfer_kit.values import Advice


def advice_sentence(advice: Advice) -> str:
    """Which network, which strategy, and how far it is expected to be from fine-tuning everything."""
    found = advice.recommendation
    first = found.outlook[0]
    best = advice.ranking.sources[0] if advice.ranking else None
    network = (
        f"Of {len(advice.ranking.sources)} networks {best.name} comes first ({best.first_share:.0%} of draws). "
        if advice.ranking and best
        else ""
    )
    tried = f", {len(found.trials.runs)} strategies tried" if found.trials else ""
    if first.strategy == "full":
        return f"{network}The case is {found.quadrant}{tried}: fine-tune everything."
    return (
        f"{network}The case is {found.quadrant}{tried}: {first.strategy}, expected {first} points from "
        "fine-tuning everything."
    )
