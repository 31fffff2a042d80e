"""Strategies whose depth is ``auto``: the depth is searched for before they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.finetuning.depth_search import search_freeze_depth
from hf_transfer_kit.selection.finetuning.elimination import shortened
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.selection.strategies.specification import make_strategy
from hf_transfer_kit.values import DepthSearch


def with_found_depths(
    strategies: Sequence[Strategy],
    make_model: Callable[[int], PreTrainedModel],
    data: PreparedData,
    args: TrainingArguments,
    budget: Budget,
    *,
    seeds: Sequence[int],
    **search: Any,
) -> tuple[list[Strategy], tuple[DepthSearch, ...]]:
    """The strategies with every ``auto`` replaced by what a search finds, and the searches.

    Depths are compared at equal steps, under an open budget at the usual ones. What a search finds may be ``full`` or
    ``head_only``; a strategy that is there already is not listed twice.

    Args:
        strategies: In any order, kept.
        make_model: As for ``search_freeze_depth``, like all that follow.
        data: Prepared splits and their collator.
        args: Arguments for the stock Trainer.
        budget: What a full run may spend.
        seeds: Seeds of the search.
        search: Further arguments of ``search_freeze_depth``.

    Example:
        >>> strategies, searches = with_found_depths([make_strategy("full")], make_model, data, args, budget, seeds=[0])
        >>> [strategy.name for strategy in strategies], searches
        (['full'], ())
    """
    found: list[Strategy] = []
    searches = []
    for strategy in strategies:
        if strategy.searched:
            if budget.is_open:
                known = budget.of_known_length()
                args, budget = shortened(args, budget, known.max_steps, evaluations=known.evaluations)
            options = {"direction": strategy.searched, "seeds": seeds, "head": strategy.head, **search}
            searches.append(search_freeze_depth(make_model, data, args, budget, **options))
            strategy = make_strategy(searches[-1].strategy)
        found.append(strategy)
    return list(dict.fromkeys(found)), tuple(searches)
