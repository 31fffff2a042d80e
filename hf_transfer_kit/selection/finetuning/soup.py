"""The soup of a race: runs of the same network averaged, as long as validation rows gain by it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit.backbones import is_adapted, merged
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.metrics.words import metric_words
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.finetuning.running import (
    Run,
    finished_run,
    make_trainer,
    metrics_of,
    run_arguments,
    to_channels_last,
)
from hf_transfer_kit.selection.finetuning.task_judging import Judging
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.selection.strategies.full import Full
from hf_transfer_kit.tuning.averaging.means import Average, wide_copies
from hf_transfer_kit.tuning.averaging.mixing import floating, moved_norms, put, why_not_mixed
from hf_transfer_kit.tuning.averaging.statistics import batches_of, gather_statistics

SOUP = "soup"
SUMMARY = "The mean of the runs' weights, as long as validation rows gain by it."
_ROWS = 1024
"""Training rows that BatchNorm's statistics are gathered on."""


class Ingredient(NamedTuple):
    """A run that may go into the soup."""

    strategy: Strategy
    candidate: Candidate[Run]
    run: Run

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        return f"{self.candidate.text} (seed {self.run.seed})"


@dataclass(frozen=True, eq=False)
class Soup:
    """What came of it.

    Args:
        run: The mean, evaluated; of one ingredient that run itself.
        best: The run that it began with.
        sentence: For people.
    """

    run: Run
    best: Ingredient
    sentence: str

    @property
    def is_mixed(self) -> bool:
        """Whether anything was added to the best run."""
        return len(self.run.mixed_of) > 1


def make_soup(
    ingredients: Sequence[Ingredient],
    contest: Contest[Run],
    make_model: Callable[[int], PreTrainedModel],
    data: PreparedData,
    args: TrainingArguments,
    budget: Budget,
    judging: Judging,
) -> Soup | None:
    """The greedy soup (Wortsman et al. 2022): the best run on validation, and in order each that does not harm it.

    Everything is chosen on validation rows. A run is left out, with its reason, that is of another network or began
    with random weights; adapters are merged. BatchNorm's statistics are gathered anew on training rows where those of
    the runs differ.

    Args:
        ingredients: The race's runs.
        contest: Gives their models, and keeps the soup.
        make_model: Seed -> the pretrained network.
        data: Prepared splits.
        args: The user's arguments.
        budget: Of each run.
        judging: What counts on validation.

    Returns:
        The soup, or None where no run could go into one.
    """
    begun = [each for each in ingredients if each.strategy.pretrained]
    if not begun:
        return None
    order = sorted(begun, key=lambda each: judging.score(each.run.validation), reverse=True)
    best, seed = order[0], order[0].run.seed

    def mix(seed: int) -> Run:
        return _mixed(order, contest, data, args, budget, judging)

    named = {each.name: list(judging.score(each.run.validation)) for each in order}
    runs = contest.runs(Candidate(SOUP, mix, make_model, options={"ingredients": named}), (seed,))
    if runs is None:
        return None
    run = runs[0]
    unlike = [f"{each.name} could not go in: {why}." for each, why in _unlike(order, contest)]
    return Soup(run, best, " ".join([_sentence(run, order, judging.metric), *unlike]))


def _sentence(run: Run, order: Sequence[Ingredient], metric: str) -> str:
    """What the soup is, or that there is none."""
    best, used = order[0], run.mixed_of
    if len(used) < 2:
        return f"No soup: on validation rows no other run added anything to {best.name}."
    gain = f"{run.validation[metric]:.3f}, that of {best.name} alone {best.run.validation[metric]:.3f}"
    return (
        f"The soup is the mean of {len(used)} of {len(order)} runs: {', '.join(used)}. Its validation "
        f"{metric_words(metric)} is {gain}; the runs were chosen on the same rows."
    )


def _plain(each: Ingredient, contest: Contest[Run]) -> nn.Module:
    """The run's network, adapters merged."""
    model = cast(nn.Module, contest.whole(each.candidate, each.run.seed, each.run).model)
    return merged(model) if is_adapted(model) else model


def _unlike(order: Sequence[Ingredient], contest: Contest[Run]) -> list[tuple[Ingredient, str]]:
    """Runs whose network is another one than the best run's, with the reason."""
    if any(each.run.model is None for each in order):  # read back: their weights are gone, and so is the question
        return []
    first = _plain(order[0], contest)
    told = [(each, why_not_mixed(first, _plain(each, contest))) for each in order[1:]]
    return [(each, why) for each, why in told if why]


def _mixed(
    order: Sequence[Ingredient],
    contest: Contest[Run],
    data: PreparedData,
    args: TrainingArguments,
    budget: Budget,
    judging: Judging,
) -> Run:
    started = time.perf_counter()
    best, mixed = order[0], [_plain(order[0], contest)]
    model = to_channels_last(cast(PreTrainedModel, copy.deepcopy(mixed[0])), data)
    strategy = Full()
    run_args = run_arguments(args, budget, strategy, reads=data.reads, seed=best.run.seed)
    trainer = make_trainer(strategy, model, data, run_args, batch_size=budget.batch_size)
    network = cast(nn.Module, trainer.model)
    weights = list(floating(network))
    chosen, mean = [best], Average(wide_copies(list(floating(network).values())), 1)
    score = judging.score(best.run.validation)
    for each in order[1:]:
        other = _plain(each, contest)
        if why_not_mixed(network, other):
            continue
        trial = Average([tensor.clone() for tensor in mean.tensors], mean.count)
        own = floating(other)
        trial = trial.with_more([own[name] for name in weights])
        _pour(network, dict(zip(weights, trial.tensors, strict=True)), [*mixed, other], data)
        reached = judging.score(metrics_of(trainer.evaluate(metric_key_prefix="eval"), "eval"))
        if reached >= score:
            chosen, mixed, mean, score = [*chosen, each], [*mixed, other], trial, reached
    if len(chosen) == 1:
        whole = contest.whole(best.candidate, best.run.seed, best.run)
        return replace(whole, mixed_of=(best.name,))
    _pour(network, dict(zip(weights, mean.tensors, strict=True)), mixed, data)
    run = finished_run(trainer, data, seed=best.run.seed, seconds=time.perf_counter() - started)
    return replace(run, mixed_of=tuple(each.name for each in chosen), rates=best.run.rates)


def _pour(network: nn.Module, values: dict[str, torch.Tensor], mixed: Sequence[nn.Module], data: PreparedData) -> None:
    """Puts the mean into the network; BatchNorm's statistics are gathered anew where those of the mixed ones differ."""
    put(network, values)
    if norms := moved_norms(network, mixed):
        batches = batches_of(cast(Any, data.train), data.collator, batch_size=256, max_rows=_ROWS)
        gather_statistics(network, norms, batches)
