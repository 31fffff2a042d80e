"""One run of several tasks on one trunk in the stock Trainer, and what it reached on each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PredictionOutput

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
from hf_transfer_kit.selection.contest.not_finite import StopNotFinite
from hf_transfer_kit.selection.contest.run_settings import run_settings, shared_batches
from hf_transfer_kit.selection.finetuning.running import metrics_of, to_channels_last
from hf_transfer_kit.selection.multitasking.methods import MultiTaskMethod
from hf_transfer_kit.selection.multitasking.task_data import TaskSet
from hf_transfer_kit.tuning import LogScalars
from hf_transfer_kit.tuning.rates import rate_groups
from hf_transfer_kit.tuning.shared_batches import SharedBatches

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
        steps: Optimizer steps.
        seconds: Wall time of training.
        learning_rate: Of what did not begin fresh.
        affinity: Mean cosines of the tasks' gradients in the order of all tasks; None where they were not kept.
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
        steps: Optimizer steps.
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
    tested = {name: predicted(model, tasks, name, "test", run_args) for name in model.config.tasks}
    return TasksRun(
        model=model,
        validation={name: judged(model, tasks, name, "validation", run_args) for name in model.config.tasks},
        test={name: metrics_of(output.metrics or {}, "test") for name, output in tested.items()},
        log=trainer.state.log_history,
        steps=steps,
        seconds=seconds,
        learning_rate=learning_rate,
        affinity=found,
        said={name: tasks[name].metrics.said(logits_of(output)) for name, output in tested.items()},
        true={name: np.asarray(output.label_ids) for name, output in tested.items()},
    )


def judged(model: MultiTaskModel, tasks: TaskSet, name: str, split: str, args: TrainingArguments) -> dict[str, float]:
    """Metrics of one task on a split."""
    return metrics_of(predicted(model, tasks, name, split, args).metrics or {}, "test")


def predicted(
    model: MultiTaskModel, tasks: TaskSet, name: str, split: str, args: TrainingArguments
) -> PredictionOutput:
    """Logits, labels and metrics of one task on a split."""
    trainer = Trainer(
        model,
        args,
        data_collator=tasks.collator(model.config.tasks),
        compute_metrics=tasks[name].metrics.compute,
        callbacks=[SharedBatches()],
    )
    return trainer.predict(tasks.judged(name, split), metric_key_prefix="test")


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
