"""One run of several tasks on one trunk in the stock Trainer, and what it reached on each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, Subset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PredictionOutput

from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.metrics.tasks import logits_of
from hf_transfer_kit.multitask import (
    BalancingEpochs,
    MultiTaskDataset,
    MultiTaskEpochs,
    MultiTaskModel,
    Source,
    TaskAffinity,
)
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.flattening import OF_ACCURACY, STEPS, UntilFlat
from hf_transfer_kit.selection.contest.not_finite import StopNotFinite
from hf_transfer_kit.selection.contest.run_settings import run_settings, shared_batches
from hf_transfer_kit.selection.finetuning.open_runs import ROWS_OF_LOOKS
from hf_transfer_kit.selection.finetuning.running import metrics_of, to_channels_last
from hf_transfer_kit.selection.multitasking.looks import TaskLooks
from hf_transfer_kit.selection.multitasking.methods import MultiTaskMethod
from hf_transfer_kit.selection.multitasking.task_data import TaskSet
from hf_transfer_kit.tuning import LogScalars
from hf_transfer_kit.tuning.rates import rate_groups
from hf_transfer_kit.tuning.shared_batches import SharedBatches
from hf_transfer_kit.values.rows import evenly_spread

FRESH_FACTOR = 10.0
"""How much faster than pretrained weights fresh heads learn."""


@dataclass(frozen=True, eq=False)
class TasksRun:
    """What one run gave.

    Args:
        model: With the weights of the last step.
        validation: Task -> metric name -> value on validation rows.
        test: The same on test rows.
        log: Trainer's log.
        steps: Optimizer steps that it did.
        seconds: Wall time of training.
        learning_rate: Of what did not begin fresh.
        affinity: Mean cosines of the tasks' gradients in the order of all tasks; None where they were not kept.
        ended: Why it ended (``UntilFlat``).
        said: Task -> what was said of its test rows (``TaskMetrics.said``).
        true: Task -> their labels.
    """

    model: MultiTaskModel
    validation: Mapping[str, Mapping[str, float]]
    test: Mapping[str, Mapping[str, float]]
    log: Sequence[Mapping[str, float]]
    steps: int
    seconds: float
    learning_rate: float
    affinity: tuple[tuple[float | None, ...], ...] | None = None
    ended: str = STEPS
    said: Mapping[str, np.ndarray] = field(default_factory=dict)
    true: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """Split -> task and metric -> value."""
        return {
            split: {f"{task} {name}": value for task, metrics in found.items() for name, value in metrics.items()}
            for split, found in (("validation", self.validation), ("test", self.test))
        }


def run_tasks(
    model: MultiTaskModel,
    sources: Mapping[str, Source],
    tasks: TaskSet,
    method: MultiTaskMethod,
    args: TrainingArguments,
    budget: Budget,
    *,
    steps: int,
    learning_rate: float,
    fresh: Sequence[str],
    seed: int,
    affinity: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> TasksRun:
    """Trains a model on the sources for a number of steps and evaluates every task that it has.

    Args:
        model: Whose tasks are all labelled by the sources, or have weight 0 and stay as they are.
        sources: Group -> training rows.
        tasks: All tasks, for collating and evaluating.
        method: How rows are mixed and losses balanced.
        args: The user's arguments; steps, rates and the seed are written into a copy.
        budget: Rows a step, and how often is logged.
        steps: Optimizer steps, of an open budget at most.
        learning_rate: Of what has been learned before.
        fresh: Tasks whose heads begin fresh on a trunk that does not: they learn ``FRESH_FACTOR`` times as fast.
        seed: Of the order of rows.
        affinity: Whether the cosines of the tasks' gradients are kept.
        callbacks: Further ones.
    """
    for name, settings in model.config.tasks.items():
        model.heads[name].requires_grad_(settings["weight"] > 0)
        if (weights := tasks[name].class_weights) is not None:
            model.heads[name].class_weights = weights.to(model.device)
    learning = [name for name, settings in model.config.tasks.items() if settings["weight"] > 0]
    _balance(model, method, learning, sources, affinity)
    to_channels_last(model, tasks[learning[0]].prepared)
    rows_a_step = budget.batch_size
    run_args = run_settings(
        args, name=method.name, max_steps=steps, batch_size=rows_a_step, learning_rate=learning_rate, seed=seed
    )
    until = UntilFlat(replace(budget, max_steps=steps), lambda _: looks.points, ramp=0.0, least=_least(tasks, learning))
    looks = TaskLooks(lambda: _scores(model, tasks, learning, run_args), every=lambda: until.every)
    rows = MultiTaskDataset(sources, method.mixing, temperature=method.temperature, seed=seed)
    trainer = Trainer(
        model,
        run_args,
        train_dataset=rows,
        data_collator=tasks.collator(model.config.tasks),
        callbacks=[
            shared_batches(run_args, rows_a_step),
            MultiTaskEpochs(),
            BalancingEpochs(),
            StopNotFinite(),
            LogScalars(),
            *([looks] if budget.patience else []),
            until,
            *callbacks,
        ],
        optimizer_cls_and_kwargs=_optimizer(model, run_args, fresh),
    )
    trainer.remove_callback(PrinterCallback)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    found = affinity_of(model, tasks.names)
    model.balancer = None  # it belongs to training
    tested = {name: predicted(model, tasks, name, tasks.judged(name, "test"), run_args) for name in model.config.tasks}
    return TasksRun(
        model=model,
        validation={name: judged(model, tasks, name, "validation", run_args) for name in model.config.tasks},
        test={name: metrics_of(output.metrics or {}, "test") for name, output in tested.items()},
        log=trainer.state.log_history,
        steps=until.steps,
        ended=until.ended,
        seconds=seconds,
        learning_rate=learning_rate,
        affinity=found,
        said={name: tasks[name].metrics.said(logits_of(output)) for name, output in tested.items()},
        true={name: np.asarray(output.label_ids) for name, output in tested.items()},
    )


def _scores(model: MultiTaskModel, tasks: TaskSet, names: Sequence[str], args: TrainingArguments) -> dict[str, float]:
    """Task -> its main metric on some validation rows, higher is better."""
    found = {}
    for name in names:
        rows = tasks.judged(name, "validation")
        some = Subset(rows, evenly_spread(len(cast(Sized, rows)), ROWS_OF_LOOKS))
        metrics = metrics_of(predicted(model, tasks, name, some, args).metrics or {}, "test")
        found[name] = (1 if tasks[name].larger_is_better else -1) * metrics[tasks[name].main_metric]
    return found


def _least(tasks: TaskSet, names: Sequence[str]) -> float:
    """Gain below which there is none, where all tasks are judged by shares of their rows."""
    return OF_ACCURACY if all(tasks[name].loaded.task_type == CLASSIFICATION for name in names) else 0.0


def judged(model: MultiTaskModel, tasks: TaskSet, name: str, split: str, args: TrainingArguments) -> dict[str, float]:
    """Metrics of one task on a split."""
    return metrics_of(predicted(model, tasks, name, tasks.judged(name, split), args).metrics or {}, "test")


def predicted(
    model: MultiTaskModel, tasks: TaskSet, name: str, rows: Dataset, args: TrainingArguments
) -> PredictionOutput:
    """Logits, labels and metrics of one task on rows."""
    trainer = Trainer(
        model,
        args,
        data_collator=tasks.collator(model.config.tasks),
        compute_metrics=tasks[name].metrics.compute,
        callbacks=[SharedBatches()],
    )
    return trainer.predict(rows, metric_key_prefix="test")


def affinity_of(model: MultiTaskModel, names: Sequence[str]) -> tuple[tuple[float | None, ...], ...] | None:
    """Mean cosines of the tasks' gradients in the order of ``names``, where they were kept; None where never met."""
    if not isinstance(model.balancer, TaskAffinity):
        return None
    matrix, place = model.balancer.matrix().numpy(), {name: i for i, name in enumerate(model.balancer.tasks)}

    def entry(row: str, column: str) -> float | None:
        if row not in place or column not in place or not np.isfinite(matrix[place[row], place[column]]):
            return None
        return float(matrix[place[row], place[column]])

    return tuple(tuple(entry(row, column) for column in names) for row in names)


def _balance(
    model: MultiTaskModel,
    method: MultiTaskMethod,
    learning: Sequence[str],
    sources: Mapping[str, Source],
    affinity: bool,
) -> None:
    weights = {name: model.config.tasks[name]["weight"] for name in learning}
    own = method.balancer(learning, weights, own_rows=len(sources) > 1)
    balancer: nn.Module = own
    if affinity and len(learning) > 1:
        # Tasks that label different rows never meet row by row.
        balancer = TaskAffinity(own, sum_rows=len(sources) > 1)
    model.balancer = balancer.to(model.device)


def _optimizer(
    model: MultiTaskModel, args: TrainingArguments, fresh: Sequence[str]
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """AdamW, or what the arguments name, with a larger rate for fresh heads; None where one rate serves all."""
    if not fresh:
        return None
    new = {id(parameter) for name in fresh for parameter in model.heads[name].parameters()}
    optimizer, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
    parts: dict[bool, dict] = {True: {}, False: {}}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts[id(parameter) in new][name] = parameter
    return optimizer, {
        **kwargs, "params": rate_groups(model, [(parts[True], FRESH_FACTOR), (parts[False], 1.0)], args),
    }  # fmt: skip
