"""One run of a method of adaptation: trained in the stock Trainer, its weights kept without labels of the target."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.adaptation import (
    AdversarialSchedule,
    DomainAdversarialModel,
    DomainCollator,
    DomainPairs,
    MeanTeacher,
    PseudoLabels,
    SeveralSourcesModel,
    TargetShares,
    reestimate_batch_norm,
)
from hf_transfer_kit.adaptation.label_shift import label_shift
from hf_transfer_kit.adaptation.scores.domain_outputs import DomainOutputs
from hf_transfer_kit.backbones.seeded_eval_mode import preserved_random_state
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.metrics import classification_metrics
from hf_transfer_kit.selection.adapting.checkpoint_selection import KeepBest, evenly_spread_accuracy
from hf_transfer_kit.selection.adapting.methods import AdaptationMethod
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.flattening import OF_ACCURACY, RAMP, STEPS, UntilFlat
from hf_transfer_kit.selection.contest.not_finite import StopNotFinite, check_finite
from hf_transfer_kit.selection.contest.run_settings import run_settings, shared_batches
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts
from hf_transfer_kit.selection.finetuning.running import metrics_of, to_channels_last, training_classes
from hf_transfer_kit.tuning import LearnedRates, LogScalars, rates_of
from hf_transfer_kit.tuning.rates import rate_groups
from hf_transfer_kit.tuning.shared_batches import SharedBatches
from hf_transfer_kit.values import AdaptationPoint, LabelShift

ROWS = 1000
"""Rows of each domain that an evaluation reads."""
FRESH_FACTOR = 10.0
"""How much faster than pretrained weights the label head and the method's own parts learn (Ganin et al. 2016)."""


@dataclass(frozen=True, eq=False)
class Domains:
    """Both domains, prepared alike.

    Args:
        source: Labelled; its ``balance`` says how classes of different sizes are treated in training.
        target: Its training and validation labels, where it has them, are for evaluation alone.
        labelled: Splits of the target that have labels.
        pretrained: Whether networks begin with weights learned elsewhere.

    Example:
        >>> domains = Domains(data, other_data, labelled=("validation", "test"))
        >>> domains.labelled, domains.pretrained
        (('validation', 'test'), True)
    """

    source: PreparedData
    target: PreparedData
    labelled: tuple[str, ...] = ()
    pretrained: bool = True

    def learning_rate(self, budget: Budget) -> float:
        """What every run learns with: the budget's rate, else the default for pretrained or for random weights."""
        return budget.rate(self.source.reads, "body" if self.pretrained else "scratch")

    def labels(self, split: str) -> np.ndarray | None:
        """Classes of a split of the target, (N,), or None."""
        return getattr(self.target, split).classes if split in self.labelled else None


@dataclass(frozen=True, eq=False)
class AdaptationRun:
    """What one run gave.

    Args:
        seed: Of weights, order and views.
        model: The classifier and its method, with the weights that were kept.
        scores: Of those weights, without labels of the target.
        kept_step: When they were reached.
        points: Evaluations.
        log: Trainer's log.
        seconds: Wall time of training, its evaluations included.
        test: Metrics on the target's test rows; empty where they have no labels.
        true: Classes of those rows; empty likewise.
        predicted: Predictions for those rows.
        rates: Parameter's name in the classifier -> highest rate that it learned with; empty where that is not known.
        shift: How frequent classes are in the target by what it predicts; None where it was not looked at.
        steps: That were done.
        ended: Why it ended (``UntilFlat``).
    """

    seed: int
    model: DomainAdversarialModel
    scores: Mapping[str, float]
    kept_step: int
    points: tuple[AdaptationPoint, ...]
    log: Sequence[Mapping[str, float]]
    seconds: float
    test: Mapping[str, float]
    true: np.ndarray
    predicted: np.ndarray
    rates: Mapping[str, float] = field(default_factory=dict)
    shift: LabelShift | None = None
    steps: int = 0
    ended: str = STEPS

    @property
    def figures(self) -> dict[str, Mapping[str, float]]:
        """Split -> metric -> value; of validation rows the scores, which need no labels of the target."""
        return {"validation": self.scores, "test": self.test}


@dataclass(frozen=True)
class ChangingCollator:
    """Batches of one domain whose real-valued inputs are changed, for training without a target."""

    collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]]
    change: Callable

    def __call__(self, rows: list[Mapping[str, Any]]) -> dict[str, Any]:
        batch = self.collator(rows)
        return {name: self.change(value) if value.is_floating_point() else value for name, value in batch.items()}


def run_adaptation(
    method: AdaptationMethod,
    make_model: Callable[[int], PreTrainedModel],
    domains: Domains,
    args: TrainingArguments,
    budget: Budget,
    *,
    seed: int,
    select: str,
    callbacks: Sequence[TrainerCallback] = (),
) -> AdaptationRun:
    """Trains one method with one seed and tests what was kept on the target.

    Args:
        method: What to train; not ``shallow``.
        make_model: Seed -> classifier with a fresh head.
        domains: Both domains.
        args: The user's arguments; the budget, the rate and the seed are written into a copy.
        budget: Steps, and rows of each domain a step.
        seed: Of the head, the order of rows and the views.
        select: The score that chooses among the evaluations of a method that adapts, or ``"last"``.
        callbacks: Further ones.

    Raises:
        DataError: When the method needs labels of target training rows and there are none.

    Example:
        >>> run = run_adaptation(make_method("mmd"), make_model, domains, args, budget, seed=0, select="bnm")
        >>> sorted(run.scores)[:2]
        ['bnm', 'corr_c']
    """
    if method.uses_target_labels and "train" not in domains.labelled:
        raise DataError(f"{method.text} learns from labels of the target, which has none. Leave it out.")
    learned = domains.target if method.uses_target_labels else domains.source
    classifier, solved = begun(method, make_model(seed), learned, args.device)
    model = adaptive_model(method, classifier, seed)
    to_channels_last(model, domains.source)
    teacher = MeanTeacher(method.teacher) if method.teacher else None
    selected = method.selected_by(select)
    until = UntilFlat(
        budget,
        lambda _: keep.looks(),
        ramp=RAMP if method.reads_target else 0.0,
        least=OF_ACCURACY if selected == "source_accuracy" else 0.0,
    )
    keep = KeepBest(
        domains.target.validation if method.uses_target_labels else domains.source.validation,
        domains.target.validation,
        domains.source.collator,
        every=lambda: until.every,
        select=selected,
        target_train=domains.target.train if method.reestimate else None,
        teacher=teacher,
        accuracy=evenly_spread_accuracy(domains.labels("validation"), ROWS),
        max_rows=ROWS,
    )
    rate = domains.learning_rate(budget)
    run_args = run_settings(
        args,
        name=method.name,
        max_steps=budget.max_steps,
        batch_size=budget.batch_size,
        learning_rate=rate,
        seed=seed,
    )
    rows, collator = _training_rows(method, domains, seed)
    model.class_weights = domains.source.balance.class_weights(training_classes(learned), learned.label_names)
    trainer = Trainer(
        model,
        run_args,
        train_dataset=rows,
        data_collator=collator,
        callbacks=[
            shared_batches(run_args, budget.batch_size),
            AdversarialSchedule(within=RAMP if budget.patience else 1.0),
            StopNotFinite(),
            LogScalars(),
            *_shares(method, domains, budget),
            *_labels(method, domains, budget),
            *([teacher] if teacher else []),
            keep,
            until,
            LearnedRates(),
            *callbacks,
        ],
        optimizer_cls_and_kwargs=fast_fresh_parts(model, run_args, head=not solved) if domains.pretrained else None,
    )
    trainer.remove_callback(PrinterCallback)
    started = time.perf_counter()
    trainer.train()
    if method.reestimate:
        reestimate_batch_norm(model, domains.target.train, domains.source.collator)
    seconds = time.perf_counter() - started
    check_finite({name: keep.scores[name] for name in {keep.select} & set(keep.scores)}, keep.kept_step)
    test, true, predicted = tested(model, domains, run_args)
    return AdaptationRun(
        seed=seed,
        model=model,
        scores=keep.scores,
        kept_step=keep.kept_step,
        points=tuple(keep.points),
        log=trainer.state.log_history,
        seconds=seconds,
        test=test,
        true=true,
        predicted=predicted,
        rates=classifier_rates(trainer),
        shift=None if method.uses_target_labels else _shift(method, domains, keep),
        steps=until.steps,
        ended=until.ended,
    )


def _shift(method: AdaptationMethod, domains: Domains, keep: KeepBest) -> LabelShift:
    classes, names = training_classes(domains.source), domains.source.label_names
    counts = np.bincount(classes, minlength=len(names))
    if domains.source.balance.sampler is not None:
        counts = (counts > 0).astype(int)  # what was learned from has all classes equally often
    return label_shift(
        cast(DomainOutputs, keep.outputs), names, predicted_by=method.text, source_shares=counts / counts.sum()
    )


def classifier_rates(trainer: Trainer) -> dict[str, float]:
    """Rates under the names that the exported classifier gives its parameters."""
    rates = rates_of(trainer.callback_handler.callbacks)
    return {name.removeprefix("network."): rate for name, rate in rates.items() if name.startswith("network.")}


def tested(
    model: DomainAdversarialModel, domains: Domains, args: TrainingArguments
) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Metrics on the target's test rows, their classes, and what was predicted for them."""
    return tested_on(model, domains.target, domains.source.label_names, args, labelled="test" in domains.labelled)


def tested_on(
    model: DomainAdversarialModel | SeveralSourcesModel,
    target: PreparedData,
    label_names: Sequence[str],
    args: TrainingArguments,
    *,
    labelled: bool,
) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """The same without a source; nothing where the test rows have no labels."""
    if not labelled:
        return {}, np.empty(0, dtype=int), np.empty(0, dtype=int)
    trainer = Trainer(
        model,
        args,
        data_collator=target.collator,
        compute_metrics=classification_metrics(label_names),
        callbacks=[SharedBatches()],
    )
    output = trainer.predict(cast(Dataset, target.test), metric_key_prefix="test")
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    return metrics_of(output.metrics or {}, "test"), np.asarray(output.label_ids), np.asarray(logits).argmax(-1)


def begun(
    method: AdaptationMethod, classifier: PreTrainedModel, learned: PreparedData, device: torch.device
) -> tuple[PreTrainedModel, bool]:
    """The classifier as training begins with it, in place, and whether its head was solved.

    A head is solved on features that BatchNorm normalises as in training, by statistics of the rows themselves.

    Args:
        method: Which says how the head begins.
        classifier: With a fresh head.
        learned: Whose labels are learned.
        device: Where the pass through the network is made.

    Raises:
        SettingsError: When ``head=probe`` was asked for and the head cannot be solved.
    """
    if not method.begins_solved:
        return classifier, False
    starts = HeadStarts(learned)
    if reason := starts.why_not(classifier):
        if method.head is None:
            return classifier, False
        raise SettingsError(f"{method.text}: {reason} Leave head=probe out.")
    reestimate_batch_norm(classifier, learned.train, learned.collator, max_rows=2 * ROWS)
    starts.solve(classifier, device)
    return classifier, True


def adaptive_model(method: AdaptationMethod, classifier: PreTrainedModel, seed: int) -> DomainAdversarialModel:
    """The classifier with the method beside it, before training."""
    with preserved_random_state():
        torch.manual_seed(seed)  # the method's own parts, such as a domain head
        return DomainAdversarialModel.from_classifier(
            classifier,
            method=method.objective,
            method_options=method.options,
            # One domain alone has one kind of statistics.
            batch_norm=method.batch_norm if method.reads_target else "joint",
        )


def _shares(method: AdaptationMethod, domains: Domains, budget: Budget) -> list[TrainerCallback]:
    if not method.shares:
        return []
    every = max(1, budget.max_steps // 20)
    return [TargetShares(training_classes(domains.source), domains.target.train, domains.source.collator, every=every)]


def _labels(method: AdaptationMethod, domains: Domains, budget: Budget) -> list[TrainerCallback]:
    if not method.labels_target:
        return []
    every = max(1, budget.max_steps // 10)
    return [PseudoLabels(domains.target.train, domains.source.collator, every=every, max_rows=ROWS)]


def fast_fresh_parts(
    model: DomainAdversarialModel | SeveralSourcesModel, args: TrainingArguments, *, head: bool = True
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """AdamW, or what the arguments name, with a larger rate for what begins with random weights.

    Args:
        model: The model.
        args: Arguments of its run.
        head: Whether the label head does.
    """
    parts_of = [model.objective, *([model.label_head.module] if head else [])]
    fresh = {id(p) for part in parts_of for p in part.parameters()}
    optimizer, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
    parts: dict[bool, dict] = {True: {}, False: {}}
    for name, parameter in model.named_parameters():
        parts[id(parameter) in fresh][name] = parameter
    return optimizer, {
        **kwargs, "params": rate_groups(model, [(parts[True], FRESH_FACTOR), (parts[False], 1.0)], args),
    }  # fmt: skip


def _training_rows(method: AdaptationMethod, domains: Domains, seed: int) -> tuple[Any, Any]:
    collator = domains.source.collator
    learned = domains.target if method.uses_target_labels else domains.source
    rows = domains.source.balance.rows(learned.train, training_classes(learned), seed=seed)
    if method.reads_target:
        pairs = DomainPairs(rows, domains.target.train, seed=seed, numbered=method.labels_target)
        return pairs, DomainCollator(
            collator, change=method.change, source_change=method.source_change, style=method.restyle
        )
    return rows, ChangingCollator(collator, method.change) if method.change else collator
