"""Was this the right source? Other pretrained networks on the same target under the same budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.executors import Executor
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.contest.verdict import judge_source
from hf_transfer_kit.selection.finetuning.caching import PrefixCaches
from hf_transfer_kit.selection.finetuning.race import Comparison, compare_strategies, validate_strategies
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.selection.strategies.specification import make_strategy
from hf_transfer_kit.values import SourceResult


@dataclass(frozen=True, eq=False)
class OtherSource:
    """A network to compare with.

    Args:
        name: For people.
        make_model: Seed -> freshly loaded pretrained model with a fresh head.
        data: The same rows, prepared as this network reads them.
        caches: Of its frozen first layers.

    Example:
        >>> other = OtherSource("another network", make_model, data)
        >>> other.name, other.make_model(0).config.num_labels
        ('another network', 3)
    """

    name: str
    make_model: Callable[[int], PreTrainedModel]
    data: PreparedData
    caches: PrefixCaches | None = None


def compare_sources(
    comparison: Comparison,
    name: str,
    others: Sequence[OtherSource],
    strategies: Sequence[str | Strategy],
    args: TrainingArguments,
    budget: Budget,
    *,
    seeds: Sequence[int] = (0,),
    callbacks: Callable[[str, str, int], Sequence[TrainerCallback]] | None = None,
    on_result: Callable[[SourceResult], None] | None = None,
    reduction_factor: int | None = None,
    store: RunStore | None = None,
    executor: Executor | None = None,
) -> tuple[SourceResult, ...]:
    """Races every other network like the first one; the best of each on validation are judged on the same test rows.

    Each network has the same choice of strategies, so that none is judged by a strategy that suits another one.
    ``from_scratch`` does not run again: of it no source has a share.

    Args:
        comparison: The race of the first network.
        name: Its name for people.
        others: The other networks.
        strategies: As in the first race; at least one that starts from pretrained weights.
        args: As in the first race.
        budget: As in the first race.
        seeds: As in the first race.
        callbacks: Name of the source, strategy text and seed -> callbacks for that run's Trainer.
        on_result: Called with each network's result when its runs have ended.
        reduction_factor: As in ``compare_strategies``.
        store: As in ``compare_strategies``.
        executor: As in ``compare_strategies``.

    Raises:
        SettingsError: When no strategy starts from pretrained weights, names repeat, or an option does not fit a
            network; before the first run.
        DataError: When a network's test rows are not those of the first race.

    Example:
        >>> other = OtherSource("another network", make_model, data)
        >>> found = compare_strategies(make_model, data, ["head_only"], args, budget)
        >>> (result,) = compare_sources(found, "mine", [other], ["head_only"], args, budget)
        >>> result.source, result.verdict.outcome in ("helped", "hurt", "undecided")
        ('another network', True)
    """
    strategies = check_sources(name, others, strategies, seed=seeds[0])
    found = []
    for other in others:
        race = compare_strategies(
            other.make_model,
            other.data,
            strategies,
            args,
            budget,
            seeds=seeds,
            callbacks=None if callbacks is None else partial(callbacks, other.name),
            caches=other.caches,
            reduction_factor=reduction_factor,
            store=store,
            executor=executor,
        )
        if not _same_rows(race.true, comparison.true):
            raise DataError(
                f"{other.name} was tested on other rows than {name}, so the two cannot be compared row by row. Prepare "
                "both from the same splits."
            )
        mine, theirs = comparison.winner, race.winner
        metric = race.result(theirs).metric
        verdict = judge_source(
            name, mine, comparison.tested[mine], other.name, theirs, race.tested[theirs], metric=metric
        )
        found.append(SourceResult(other.name, race.result(theirs), verdict))
        if on_result:
            on_result(found[-1])
    return tuple(found)


def _same_rows(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first, second, equal_nan=np.issubdtype(first.dtype, np.floating))


def check_sources(
    name: str, others: Sequence[OtherSource], strategies: Sequence[str | Strategy], *, seed: int = 0
) -> list[Strategy]:
    """The strategies that other sources are raced with, all of which fit all of them.

    Raises:
        SettingsError: When none starts from pretrained weights, names repeat, or an option does not fit a network.

    Example:
        >>> other = OtherSource("another network", make_model, data)
        >>> [strategy.name for strategy in check_sources("mine", [other], ["head_only", "from_scratch"])]
        ['head_only']
    """
    carried = [strategy for strategy in map(make_strategy, strategies) if strategy.pretrained]
    names = [name, *(other.name for other in others)]
    if not carried:
        raise SettingsError("Other sources need a strategy that starts from pretrained weights; from_scratch is none.")
    if len(set(names)) < len(names):
        raise SettingsError(f"Sources {', '.join(names)}: a network is named twice. Name each once.")
    for other in others:
        try:
            validate_strategies(carried, other.make_model(seed), other.data)
        except SettingsError as error:
            raise SettingsError(f"{other.name}, another source: {error}") from error
    return carried
