"""One run: one strategy, one seed, the stock Trainer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from transformers import EvalPrediction, PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.data import SPLITS, PreparedData
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.features import CachedPrefix
from hf_transfer_kit.metrics import classification_metrics
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.not_finite import StopNotFinite
from hf_transfer_kit.selection.contest.run_settings import run_settings
from hf_transfer_kit.selection.contest.store import data_key, model_key
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.tuning import FairLossScale, LearnedRates, rates_of
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
        true: Class of each test row, of shape (rows,).
        predicted: Predicted class of each test row, of shape (rows,).
        curve: Evaluations during training.
        seconds: Wall time of training, its evaluations included.
        trainable_parameters: Scalars that asked for a gradient when training ended.
        total_parameters: All.
        validation_correct: Whether each validation row's class was predicted, of shape (rows,).
        rates: Parameter's name -> highest rate that it learned with; empty where that is not known.
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
    validation_correct: np.ndarray | None = None
    rates: Mapping[str, float] = field(default_factory=dict)

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
        test: False leaves the test split alone: no metrics and no predictions for it.

    Returns:
        The run; on every process the same. Its model is whole, cached or not.
    """
    model = strategy.prepare_model(make_model(seed), seed=seed)
    run_args = run_arguments(args, budget, strategy, modality=data.modality, seed=seed)
    started = time.perf_counter()
    with readable_data(strategy, model, data, attach) as rows:
        trainer = make_trainer(strategy, model, rows, run_args, callbacks=callbacks)
        trainer.train()
        return finished_run(trainer, rows, seed=seed, seconds=time.perf_counter() - started, test=test)


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
    """
    to_channels_last(model, data)
    frozen = strategy.frozen_prefix(layer_groups(model)) if attach else 0
    cached = attach(model, frozen) if frozen else None
    if cached is None:
        yield data
        return
    with cached:
        yield replace(data, **{split: cached[split] for split in SPLITS}, collator=cached.collator)


def to_channels_last(model: PreTrainedModel, data: PreparedData) -> PreTrainedModel:
    """Puts a network of pictures into the layout in which it is fastest, in place, and returns it.

    Convolutions on a CPU, and in half precision on a GPU, are up to three times as fast with the channels last. All
    runs of a comparison have one layout, for another one rounds differently, and training blows that up.
    """
    if "pixel_values" in data.train[0]:
        model.to(memory_format=torch.channels_last)
    return model


def finished_run(trainer: Trainer, data: PreparedData, *, seed: int, seconds: float, test: bool = True) -> Run:
    """Evaluates a trained Trainer on the validation and, if asked to, the test split; every process gets the same."""
    seen: list[np.ndarray] = []
    with _also(trainer, lambda prediction: seen.append(_classes(prediction.predictions) == prediction.label_ids)):
        validation = trainer.evaluate(metric_key_prefix="eval")
    tested: dict[str, float] = {}
    true = predicted = np.empty(0, dtype=int)
    if test:
        output = trainer.predict(data.test, metric_key_prefix="test")
        tested = metrics_of(output.metrics, "test")
        true, predicted = np.asarray(output.label_ids), _classes(output.predictions)
    return Run(
        seed=seed,
        model=trainer.model,
        validation=metrics_of(validation, "eval"),
        test=tested,
        true=true,
        predicted=predicted,
        curve=learning_curve(trainer.state.log_history),
        seconds=seconds,
        trainable_parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        total_parameters=sum(p.numel() for p in trainer.model.parameters()),
        validation_correct=seen[-1] if seen else None,
        rates=rates_of(trainer.callback_handler.callbacks),
    )


@contextmanager
def _also(trainer: Trainer, look: Callable[[EvalPrediction], object]) -> Iterator[None]:
    """While it lasts, ``look`` sees the predictions that metrics are computed from: no second pass is needed."""
    metrics = trainer.compute_metrics

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        look(prediction)
        return metrics(prediction)

    trainer.compute_metrics = compute
    try:
        yield
    finally:
        trainer.compute_metrics = metrics


def _classes(predictions: np.ndarray | tuple) -> np.ndarray:
    """Predicted class of each row, of shape (rows,), from logits that may stand first among other outputs."""
    logits = predictions[0] if isinstance(predictions, tuple) else predictions
    return np.asarray(logits).argmax(axis=-1)


def make_trainer(
    strategy: Strategy,
    model: PreTrainedModel,
    data: PreparedData,
    args: TrainingArguments,
    *,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> Trainer:
    """The stock Trainer with what the strategy adds, its callbacks and its optimizer, and the data's class balance."""
    balance = data.balance
    wants = balance.weights is not None or balance.sampler is not None or balance.margin > 0
    classes = training_classes(data) if wants else np.empty(0, dtype=int)
    trainer = Trainer(
        model,
        args,
        train_dataset=balance.rows(data.train, classes, seed=args.seed),
        compute_loss_func=balance.loss(classes, data.label_names),
        eval_dataset=data.validation,
        data_collator=data.collator,
        compute_metrics=classification_metrics(data.label_names),
        callbacks=[FairLossScale(), StopNotFinite(), *strategy.callbacks(model), LearnedRates(), *callbacks],
        optimizer_cls_and_kwargs=strategy.optimizer(model, args),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def training_classes(data: PreparedData) -> np.ndarray:
    """Class of each training row, of shape (rows,)."""
    return np.array(classes_of(data.train))


def run_arguments(
    args: TrainingArguments, budget: Budget, strategy: Strategy, *, modality: str, seed: int
) -> TrainingArguments:
    """A copy of the user's arguments for one run of a race: same steps, same evaluations, same data order for all."""
    return run_settings(
        args,
        name=strategy.name,
        max_steps=budget.max_steps,
        learning_rate=budget.rate(modality, strategy.rate_kind),
        seed=seed,
        eval_steps=budget.eval_steps,
        own_columns=False,
    )


def learning_curve(log_history: list[dict[str, float]]) -> tuple[CurvePoint, ...]:
    """Evaluations and training losses of Trainer's log, one point a step."""
    points: dict[int, dict[str, float]] = {}
    names = {"loss": "train_loss", "eval_loss": "validation_loss", "eval_accuracy": "accuracy"}
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
