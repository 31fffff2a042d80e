"""One run: one strategy, one seed, the stock Trainer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from scipy.special import softmax
from torch import nn
from torch.utils.data import Dataset
from transformers import EvalPrediction, PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.backbones import is_adapted, layer_groups
from hf_transfer_kit.data import SPLITS, PreparedData
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.features import CachedPrefix
from hf_transfer_kit.metrics.tasks import logits_of
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.flattening import STEPS
from hf_transfer_kit.selection.contest.not_finite import StopNotFinite
from hf_transfer_kit.selection.contest.run_settings import run_settings, shared_batches
from hf_transfer_kit.selection.contest.store import data_key, model_key
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts
from hf_transfer_kit.selection.finetuning.open_runs import looked_at_some, until_flat
from hf_transfer_kit.selection.finetuning.task_judging import judging_of
from hf_transfer_kit.selection.finetuning.task_losses import PROBLEM_TYPES, task_loss
from hf_transfer_kit.selection.finetuning.transcripts import spell_no_padding
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.tuning import LearnedRates, rates_of
from hf_transfer_kit.values import CurvePoint

Attach = Callable[[PreTrainedModel, int], CachedPrefix | None]


@dataclass(frozen=True)
class Run:
    """The outcome of one run.

    Args:
        seed: Seed of the head's weights, the data order and dropout.
        model: The trained model; None where figures alone were wanted, or its weights are kept no more.
        validation: Metric name -> value on the validation split.
        test: The same on the test split.
        true: Label of each test row, of shape (rows,); of several labels a row, or of words, (rows, ...).
        predicted: What was said of each test row (``TaskMetrics.said``), likewise.
        curve: Evaluations during training.
        seconds: Wall time of training, its evaluations included.
        trainable_parameters: Scalars that asked for a gradient when training ended.
        total_parameters: All.
        probabilities: Of the class that was named, of shape (rows,), for each test row; None of other tasks.
        validation_correct: Whether each validation row's class was predicted, of shape (rows,); None of other tasks.
        rates: Parameter's name -> highest rate that it learned with; empty where that is not known.
        cache_note: What ``PrefixCaches`` said of it; empty without frozen first layers.
        mixed_of: Of a soup the runs whose weights it is the mean of; empty for a run that was trained.
        steps: Optimizer steps.
        ended: Why it ended (``UntilFlat``).
    """

    seed: int
    model: PreTrainedModel | None
    validation: dict[str, float]
    test: dict[str, float]
    true: np.ndarray
    predicted: np.ndarray
    curve: tuple[CurvePoint, ...]
    seconds: float
    trainable_parameters: int
    total_parameters: int
    probabilities: np.ndarray | None = None
    validation_correct: np.ndarray | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    cache_note: str = ""
    mixed_of: tuple[str, ...] = ()
    steps: int = 0
    ended: str = STEPS

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """Split -> metric -> value."""
        return {"validation": self.validation, "test": self.test}


def run_strategy(
    strategy: Strategy,
    make_model: Callable[[int], PreTrainedModel],
    data: PreparedData,
    args: TrainingArguments,
    budget: Budget,
    *,
    seed: int,
    callbacks: tuple[TrainerCallback, ...] = (),
    attach: Attach | None = None,
    heads: HeadStarts | None = None,
    test: bool = True,
) -> Run:
    """Trains one strategy under a budget and evaluates it on the validation and the test split.

    Args:
        strategy: What to do with the pretrained network.
        make_model: Seed -> freshly loaded pretrained model with a fresh head.
        data: Prepared splits and their collator.
        args: The user's arguments; the budget, the rate and the seed are written into a copy.
        budget: Steps, evaluations and rate.
        seed: Seed of the head, the data order and dropout.
        callbacks: Further callbacks for the Trainer.
        attach: Model and number of frozen groups -> their outputs, computed once; see ``readable_data``.
        heads: Of the comparison, whose runs share what was solved; None solves a head for this run alone.
        test: False leaves the test split alone: no metrics and no predictions for it.

    Returns:
        The run; on every process the same. Its model is whole, cached or not.

    Example:
        >>> run = run_strategy(make_strategy("head_only"), make_model, data, args, budget, seed=0, test=False)
        >>> sorted(run.validation)
        ['accuracy', 'balanced_accuracy', 'loss', 'macro_f1']
    """
    heads, model = heads or HeadStarts(data), to_channels_last(make_model(seed), data)
    (strategy,) = heads.settled([strategy], model)
    run_args = run_arguments(args, budget, strategy, reads=data.reads, seed=seed)
    started = time.perf_counter()
    model = strategy.prepare_model(heads.begin(strategy, model, args.device), seed=seed)
    until = until_flat(data, budget)
    with readable_data(strategy, model, data, attach) as rows:
        trainer = make_trainer(
            strategy, model, rows, run_args, callbacks=(*callbacks, until), batch_size=budget.batch_size
        )
        with looked_at_some(trainer, budget):
            trainer.train()
        run = finished_run(trainer, rows, seed=seed, seconds=time.perf_counter() - started, test=test)
        return replace(run, ended=until.ended)


def race_facts(make_model: Callable[[int], PreTrainedModel], data: PreparedData, seed: int) -> dict[str, str]:
    """What all runs of a race depend on, for their keys in a store: the rows, and the weights of the first seed."""
    return {"data": data_key(data), "weights": model_key(make_model(seed))}


@contextmanager
def readable_data(
    strategy: Strategy, model: PreTrainedModel, data: PreparedData, attach: Attach | None
) -> Iterator[PreparedData]:
    """What the model reads while the block runs: the data, or what the strategy's frozen first layers give for it.

    Args:
        strategy: Says how many of the first layer groups never move.
        model: The prepared model; after the block it is whole and ordinary.
        data: The prepared splits.
        attach: Model and number of groups -> the attached cache, or None to go without.

    Example:
        >>> with readable_data(make_strategy("head_only"), model, data, attach=None) as rows:
        ...     rows is data
        True
    """
    to_channels_last(model, data)
    frozen = strategy.frozen_prefix(layer_groups(model)) if attach else 0
    cached = attach(model, frozen) if attach and frozen else None
    if cached is None:
        yield data
        return
    with cached:
        rows: dict[str, Any] = {split: cached[split] for split in SPLITS}
        yield replace(data, **rows, collator=cached.collator)


def of_task(model: PreTrainedModel, data: PreparedData) -> PreTrainedModel:
    """The model, in place, with transformers' word for a task that is no classification in its configuration.

    One that spells gives nothing where a row is padding.
    """
    if data.task_type in PROBLEM_TYPES:
        cast(Any, model.config).problem_type = PROBLEM_TYPES[data.task_type]
    if data.task_type == "ctc":
        spell_no_padding(model)
    return model


def to_channels_last(model: PreTrainedModel, data: PreparedData) -> PreTrainedModel:
    """Puts a network of pictures into the layout in which it is fastest, in place, and returns it.

    Convolutions on a CPU, and in half precision on a GPU, are up to three times as fast with the channels last. All
    runs of a comparison have one layout, for another one rounds differently, and training blows that up.
    """
    if "pixel_values" in data.validation[0]:
        cast(nn.Module, model).to(memory_format=torch.channels_last)
        for parameter in model.parameters() if is_adapted(model) else ():
            if parameter.requires_grad:  # peft before 0.19 cannot save others, and DoRA's views want these
                parameter.data = parameter.data.contiguous()
    return model


def finished_run(trainer: Trainer, data: PreparedData, *, seed: int, seconds: float, test: bool = True) -> Run:
    """Evaluates a trained Trainer on the validation and, if asked to, the test split; every process gets the same.

    Example:
        >>> trainer = make_trainer(make_strategy("head_only"), model, data, args, batch_size=4)
        >>> run = finished_run(trainer, data, seed=0, seconds=1.0)
        >>> sorted(run.validation)
        ['accuracy', 'balanced_accuracy', 'loss', 'macro_f1']
    """
    judging, seen = judging_of(data), []

    def look(prediction: EvalPrediction) -> None:
        if data.task_type == CLASSIFICATION:
            seen.append(logits_of(prediction).argmax(axis=-1) == prediction.label_ids)

    with _also(trainer, look):
        validation = trainer.evaluate(metric_key_prefix="eval")
    tested: dict[str, float] = {}
    true = predicted = np.empty(0, dtype=int)
    probabilities = None
    if test:
        output = trainer.predict(cast(Dataset, data.test), metric_key_prefix="test")
        tested = metrics_of(output.metrics or {}, "test")
        true, predicted = np.asarray(output.label_ids), judging.metrics.said(logits_of(output))
        if data.task_type == CLASSIFICATION:
            probabilities = softmax(np.asarray(logits_of(output), dtype=np.float64), axis=-1).max(axis=-1)
    model = cast(PreTrainedModel, trainer.model)
    return Run(
        seed=seed,
        model=model,
        validation=metrics_of(validation, "eval"),
        test=tested,
        true=true,
        predicted=predicted,
        probabilities=probabilities,
        curve=learning_curve(trainer.state.log_history, judging.metric),
        seconds=seconds,
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        total_parameters=sum(p.numel() for p in model.parameters()),
        validation_correct=seen[-1] if seen else None,
        rates=rates_of(trainer.callback_handler.callbacks),
        steps=trainer.state.global_step,
    )


@contextmanager
def _also(trainer: Trainer, look: Callable[[EvalPrediction], object]) -> Iterator[None]:
    """While it lasts, ``look`` sees the predictions that metrics are computed from: no second pass is needed."""
    metrics = cast(Callable[[EvalPrediction], dict[str, float]], trainer.compute_metrics)

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        look(prediction)
        return metrics(prediction)

    trainer.compute_metrics = compute
    try:
        yield
    finally:
        trainer.compute_metrics = metrics


def make_trainer(
    strategy: Strategy,
    model: PreTrainedModel,
    data: PreparedData,
    args: TrainingArguments,
    *,
    batch_size: int,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> Trainer:
    """The stock Trainer with what the strategy adds, its callbacks and its optimizer, and the data's class balance.

    ``batch_size`` rows a step are dealt to processes and accumulated batches.

    Example:
        >>> trainer = make_trainer(make_strategy("head_only"), model, data, args, batch_size=4)
        >>> [type(callback).__name__ for callback in trainer.callback_handler.callbacks if "Freeze" in str(callback)]
        ['FreezeLayers']
    """
    of_task(model, data)  # a strategy may have made another one
    balance = data.balance
    wants = balance.weights is not None or balance.sampler is not None or balance.margin > 0
    classes = training_classes(data) if wants else np.empty(0, dtype=int)
    trainer = Trainer(
        model,
        args,
        train_dataset=balance.rows(data.train, classes, seed=args.seed),
        compute_loss_func=task_loss(data) or balance.loss(classes, data.label_names),
        eval_dataset=data.validation,
        data_collator=data.collator,
        compute_metrics=judging_of(data).metrics.compute,
        callbacks=[
            shared_batches(args, batch_size),
            StopNotFinite(),
            *strategy.callbacks(model),
            LearnedRates(),
            *callbacks,
        ],
        optimizer_cls_and_kwargs=strategy.optimizer(model, args),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def training_classes(data: PreparedData) -> np.ndarray:
    """Class of each training row, of shape (rows,)."""
    return np.array(classes_of(data.train))


def run_arguments(
    args: TrainingArguments, budget: Budget, strategy: Strategy, *, reads: str, seed: int
) -> TrainingArguments:
    """A copy of the user's arguments for one run of a race: same steps, same evaluations, same data order for all."""
    return run_settings(
        args,
        name=strategy.name,
        max_steps=budget.max_steps,
        batch_size=budget.batch_size,
        learning_rate=budget.rate(reads, strategy.rate_kind),
        seed=seed,
        eval_steps=budget.eval_steps,
        own_columns=False,
    )


def learning_curve(log_history: list[dict[str, float]], metric: str = "accuracy") -> tuple[CurvePoint, ...]:
    """Evaluations, of them one metric, and training losses of Trainer's log, one point a step."""
    points: dict[int, dict[str, float]] = {}
    names = {"loss": "train_loss", "eval_loss": "validation_loss", f"eval_{metric}": "accuracy"}
    for entry in log_history:
        known = {names[key]: value for key, value in entry.items() if key in names}
        if known:
            points.setdefault(int(entry["step"]), {}).update(known)
    return tuple(CurvePoint(step, **points[step]) for step in sorted(points))


def metrics_of(logged: dict[str, float], prefix: str) -> dict[str, float]:
    """Trainer's metrics without their prefix and without its timings."""
    timings = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
    return {
        key.removeprefix(f"{prefix}_"): float(value)
        for key, value in logged.items()
        if key.startswith(f"{prefix}_") and not key.endswith(timings)
    }
