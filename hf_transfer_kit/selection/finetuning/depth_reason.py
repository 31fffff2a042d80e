"""Why a freeze depth was chosen, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hf_transfer_kit.data.class_balance import words
from hf_transfer_kit.values import DepthResult


def depth_sentence(
    results: Sequence[DepthResult],
    chosen: int,
    strategy: str,
    *,
    price: Mapping[int, int],
    body: int,
    error: float,
    metric: str = "accuracy",
) -> str:
    """One sentence for people: the depth, its accuracy, and the depths it was compared with last.

    Args:
        results: One entry a depth.
        chosen: The chosen depth.
        strategy: Its text for ``hf-transfer finetune``.
        price: Depth -> number of parameters that move.
        body: Number of layer groups before the head.
        error: Standard error of the difference between the chosen depth and the best.
        metric: What was compared.
    """
    last = max(result.rung for result in results)
    finalists = [result for result in results if result.rung == last]
    best = max(finalists, key=lambda result: result.accuracy)
    own = next(result for result in results if result.depth == chosen)
    opening = (
        f"Freeze {chosen} of {body} layer groups ({strategy}): validation {words(metric)} {own.accuracy:.1%} after "
        f"{own.steps} steps with {len(own.seeds)} seed{'s' if len(own.seeds) > 1 else ''}"
    )
    others = ", ".join(str(result.depth) for result in finalists if result.depth != chosen)
    if not others:
        return f"{opening}; no other depth was compared."
    if best.depth == chosen:
        return f"{opening}, the best of the depths compared last (the others: {others})."
    saved = 1 - price[chosen] / max(price[best.depth], 1)
    return (
        f"{opening}, within one standard error ({error:.1%}) of the best of those compared last (depth "
        f"{best.depth}, {best.accuracy:.1%}), with {saved:.0%} fewer parameters to train."
    )
