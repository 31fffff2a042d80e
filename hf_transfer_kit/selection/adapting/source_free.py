"""Methods of adaptation that need no source rows, side by side: a trained network and an unlabelled target."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.adaptation import (
    SCORES,
    SOURCE_FREE,
    AdversarialSchedule,
    DomainAdversarialModel,
    DomainCollator,
    MeanTeacher,
    PseudoLabels,
    TargetRows,
    reestimate_batch_norm,
)
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection.adapting.checkpoint_selection import KeepBest, evenly_spread_accuracy
from hf_transfer_kit.selection.adapting.comparing import (
    AdaptationComparison,
    correct_rows,
    summary_of,
    with_best_score,
)
from hf_transfer_kit.selection.adapting.judging import with_verdicts
from hf_transfer_kit.selection.adapting.methods import (
    LAST,
    SOURCE_MODEL,
    AdaptationMethod,
    make_source_free_method,
    refuse_idle_views,
)
from hf_transfer_kit.selection.adapting.running import ROWS, AdaptationRun, classifier_rates, tested_on
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate, check_entries
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.executors import Executor
from hf_transfer_kit.selection.contest.flattening import RAMP, UntilFlat
from hf_transfer_kit.selection.contest.not_finite import StopNotFinite, check_finite
from hf_transfer_kit.selection.contest.run_settings import run_settings, shared_batches
from hf_transfer_kit.selection.contest.store import RunStore, data_key, model_key
from hf_transfer_kit.selection.finetuning.running import to_channels_last
from hf_transfer_kit.tuning import LearnedRates, LogScalars
from hf_transfer_kit.tuning.rates import rate_groups


@dataclass(frozen=True, eq=False)
class TargetAlone:
    """A target whose source cannot be had.

    Args:
        rows: Its splits, prepared with the network's processor; labels are for evaluation alone.
        labelled: Splits that have labels.
        label_names: The network's classes, in the order of its logits.

    Example:
        >>> target = TargetAlone(data, labelled=("test",), label_names=data.label_names)
        >>> target.labelled
        ('test',)
    """

    rows: PreparedData
    labelled: tuple[str, ...]
    label_names: tuple[str, ...]

    def labels(self, split: str) -> np.ndarray | None:
        """Classes of a split, (N,), or None."""
        return getattr(self.rows, split).classes if split in self.labelled else None


def compare_source_free(
    methods: Sequence[str],
    make_model: Callable[[], PreTrainedModel],
    target: TargetAlone,
    args: TrainingArguments,
    budget: Budget,
    *,
    seeds: Sequence[int] = (0,),
    select: str = "bnm",
    invert: bool = False,
    callbacks: Callable[[str, int], Sequence[TrainerCallback]] | None = None,
    on_result: Callable[[object], None] | None = None,
    store: RunStore | None = None,
    executor: Executor | None = None,
) -> AdaptationComparison:
    """Adapts a trained classifier to unlabelled rows with each method and seed, under one budget.

    ``source_model`` is the network as it comes, ``adabn`` the same with BatchNorm statistics of the target. Weights and
    method are kept by a score that needs neither labels of the target nor rows of the source.

    Args:
        methods: Texts, such as ``"shot:view=1"``; none twice.
        make_model: The trained classifier, freshly loaded.
        target: Its rows.
        args: Arguments for the stock Trainer.
        budget: What each run may spend.
        seeds: One run each.
        select: A key of ``SCORES`` that reads the target alone, or ``"last"``.
        invert: Whether strong views invert every second image where the text does not say.
        callbacks: Method text and seed -> callbacks for that run.
        on_result: Called after each method.
        store: Where finished runs are kept and taken from; None keeps none.
        executor: Who does the runs, several at once; None does one after another in this process.

    Raises:
        SettingsError: When a method, the score or the seeds do not fit, before anything is trained.
        NotFiniteError: When every method broke.

    Example:
        >>> target = TargetAlone(data, labelled=("test",), label_names=data.label_names)
        >>> found = compare_source_free(["tent"], lambda: make_model(0), target, args, budget)
        >>> [result.method for result in found.results]
        ['tent']
    """
    chosen = checked_source_free(methods, seeds=seeds, select=select, invert=invert)
    refuse_idle_views(methods, target.rows.reads)
    contest = Contest(
        AdaptationRun,
        args,
        budget,
        store,
        executor,
        facts=lambda: {
            "data": data_key(target.rows, list(target.labelled)), "weights": model_key(make_model()),
        },
    )  # fmt: skip

    def train(method: AdaptationMethod, seed: int) -> AdaptationRun:
        more = callbacks(method.text, seed) if callbacks else ()
        return _run(method, make_model(), target, args, budget, seed=seed, select=select, callbacks=more)

    # nothing is drawn without training
    own_seeds = {method.text: seeds if method.name in SOURCE_FREE else seeds[:1] for method in chosen}
    candidates = {
        method.text: Candidate(
            method.text,
            partial(train, method),
            partial(_before_training, method, make_model, target),
            {"method": asdict(method), "select": select},
        )
        for method in chosen
    }
    for text, candidate in candidates.items():
        contest.announce([candidate], own_seeds[text])
    results, first, correct = [], {}, {}
    for method in chosen:
        runs = contest.runs(candidates[method.text], own_seeds[method.text])
        if runs is None:
            continue
        first[method.text] = runs[0]
        correct[method.text] = correct_rows(runs)
        results.append(summary_of(method, runs))
        if on_result:
            on_result(results[-1])
    if not results:
        contest.check()
    name = next((m.text for m in chosen if m.name in SOURCE_FREE and m.text in first), results[0].method)
    if select != LAST:
        name = with_best_score(results, select)
    plain = next((m.text for m in chosen if m.name == SOURCE_MODEL and m.text in first), SOURCE_MODEL)
    results = with_verdicts(results, correct, plain)
    run = contest.whole(candidates[name], seeds[0], first[name])
    contest.finished((name, seeds[0]))
    return AdaptationComparison(
        tuple(results), name, run, (), (), failed=tuple(contest.failed), runs=tuple(contest.ran)
    )


def _adaptive(method: AdaptationMethod, network: PreTrainedModel) -> DomainAdversarialModel:
    objective = method.name if method.name in SOURCE_FREE else "source_only"
    return DomainAdversarialModel.from_classifier(network, method=objective, method_options=method.options)


def _run(
    method: AdaptationMethod,
    network: PreTrainedModel,
    target: TargetAlone,
    args: TrainingArguments,
    budget: Budget,
    *,
    seed: int,
    select: str,
    callbacks: Sequence[TrainerCallback],
) -> AdaptationRun:
    rows = target.rows
    trains = method.name in SOURCE_FREE
    model = _adaptive(method, network)
    to_channels_last(model, rows)
    run_args = run_settings(
        args,
        name=method.name,
        max_steps=budget.max_steps,
        batch_size=budget.batch_size,
        learning_rate=budget.rate(rows.reads, "body"),
        seed=seed,
    )
    teacher = MeanTeacher(method.teacher) if method.teacher else None
    until = UntilFlat(budget, lambda _: keep.looks())
    keep = KeepBest(
        None,
        rows.validation,
        rows.collator,
        every=lambda: until.every,
        select=select,
        target_train=rows.train if method.reestimate else None,
        teacher=teacher,
        accuracy=evenly_spread_accuracy(target.labels("validation"), ROWS),
        max_rows=ROWS,
    )
    started, log, rates = time.perf_counter(), [], {}
    if method.reestimate:
        reestimate_batch_norm(model, rows.train, rows.collator)
    if trains:
        trainer = Trainer(
            model,
            run_args,
            train_dataset=TargetRows(rows.train),
            data_collator=DomainCollator(rows.collator, change=method.change),
            callbacks=[
                shared_batches(run_args, budget.batch_size),
                AdversarialSchedule(within=RAMP if budget.patience else 1.0),
                StopNotFinite(),
                LogScalars(),
                *([PseudoLabels(rows.train, rows.collator)] if method.name == "shot" else []),
                *([teacher] if teacher else []),
                keep,
                until,
                LearnedRates(),
                *callbacks,
            ],
            optimizer_cls_and_kwargs=_optimizer(model, run_args),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        log, rates = trainer.state.log_history, classifier_rates(trainer)
        if method.reestimate:
            reestimate_batch_norm(model, rows.train, rows.collator)
    else:
        keep.look(model, 0)
    seconds = time.perf_counter() - started
    check_finite({name: keep.scores[name] for name in {select} & set(keep.scores)}, keep.kept_step)
    test, true, predicted = tested_on(model, rows, target.label_names, run_args, labelled="test" in target.labelled)
    return AdaptationRun(
        seed, model, keep.scores, keep.kept_step, tuple(keep.points) if trains else (), log, seconds, test, true,
        predicted, rates, steps=until.steps, ended=until.ended,
    )  # fmt: skip


def _optimizer(
    model: DomainAdversarialModel, args: TrainingArguments
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    optimizer, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return optimizer, {**kwargs, "params": rate_groups(model, [(parameters, 1.0)], args)}


def checked_source_free(
    methods: Sequence[str], *, seeds: Sequence[int], select: str, invert: bool = False
) -> list[AdaptationMethod]:
    """The methods, before anything is loaded; arguments as in ``compare_source_free``.

    Raises:
        SettingsError: When a method, the score or the seeds do not fit.

    Example:
        >>> [method.text for method in checked_source_free(["tent", "shot:view=1"], seeds=[0], select="bnm")]
        ['tent', 'shot:view=1']
    """
    found = [make_source_free_method(text, invert=invert) for text in methods]
    texts = [method.text for method in found]
    check_entries("methods", texts, seeds)
    able = [name for name, score in SCORES.items() if not score.needs_source]
    if select != LAST and select not in able:
        raise SettingsError(
            f"select={select!r} does not choose without source rows; choose {LAST} or one of {', '.join(able)}."
            f"{did_you_mean(select, [LAST, *able])}"
        )
    return found


def _before_training(
    method: AdaptationMethod, make_model: Callable[[], PreTrainedModel], target: TargetAlone, seed: int
) -> PreTrainedModel:
    return to_channels_last(_adaptive(method, make_model()), target.rows)
