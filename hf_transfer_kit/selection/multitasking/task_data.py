"""Tasks with their rows, and how they go into one network together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.data.class_balance import balanced_places
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.metrics import TaskMetrics, larger_is_better, task_metrics
from hf_transfer_kit.multitask import DEFAULT_INPUT, MultiTaskCollator, Source, WithLabels
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection.finetuning.running import training_classes
from hf_transfer_kit.values import TaskDescription

LABELS = "labels"
"""Column of a prepared row's label."""


@dataclass(frozen=True, eq=False)
class TaskData:
    """One task and its rows.

    Args:
        name: Its name.
        loaded: The data as loaded, whose ``task_type`` and ``label_names`` say what the task is.
        prepared: Its splits as the network reads them.
        group: Tasks of one group label the same rows, in the same order.
        input: Name of the input that its rows go into.
        settings: Further settings of ``MultiTaskConfig.tasks``, such as ``weight``.
        metric: Name of the metric that tells how well it is done; None for the type's own.

    Raises:
        SettingsError: When its type has no such metric, or no classes whose rows could be balanced.

    Example:
        >>> digit = TaskData("digit", loaded, prepare_data(loaded, processor), group="digits")
        >>> digit.name, digit.metrics.names[0]
        ('digit', 'accuracy')
    """

    name: str
    loaded: LoadedData
    prepared: PreparedData
    group: str
    input: str = DEFAULT_INPUT
    settings: Mapping[str, Any] = field(default_factory=dict)
    metric: str | None = None

    def __post_init__(self) -> None:
        if self.metric is not None and self.metric not in self.metrics.names:
            raise SettingsError(
                f"{self.name} has metric={self.metric!r}, but {self.loaded.task_type} is judged by "
                f"{', '.join(self.metrics.names)}. Give one of these.{did_you_mean(self.metric, self.metrics.names)}"
            )

        if self.prepared.balance.sentence and self.loaded.task_type != CLASSIFICATION:
            raise SettingsError(
                f"{self.name} has class weights, a sampler or a metric of classes, but is a task of "
                f"{self.loaded.task_type}. Leave them out."
            )

    @property
    def config(self) -> dict[str, Any]:
        """As ``MultiTaskConfig.tasks`` has it."""
        names = self.loaded.label_names
        own: dict[str, Any] = {"id2label": dict(enumerate(names))} if names else {}
        if self.loaded.task_type == "regression":
            labels = np.asarray(self.labels("train"), dtype=np.float64)  # (N,) or (N, C)
            scale = np.nanstd(labels, axis=0)
            own |= {"mean": np.nanmean(labels, axis=0).tolist(), "scale": np.where(scale > 0, scale, 1.0).tolist()}
        return {"type": self.loaded.task_type, **own, "input": self.input, **self.settings}

    @property
    def metrics(self) -> TaskMetrics:
        """How its predictions are judged."""
        return task_metrics(self.loaded.task_type, self.loaded.label_names)

    @property
    def main_metric(self) -> str:
        """The metric's name."""
        chosen_by = self.prepared.balance.metric
        return self.metric or (chosen_by if chosen_by != "accuracy" else self.metrics.main)

    @property
    def larger_is_better(self) -> bool:
        """Whether a larger value of it is better."""
        return larger_is_better(self.main_metric)

    @property
    def class_weights(self) -> Tensor | None:
        """Of its loss, (C,), or None."""
        if self.prepared.balance.weights is None:
            return None
        return self.prepared.balance.class_weights(training_classes(self.prepared), self.loaded.label_names)

    def labels(self, split: str) -> list[Any]:
        """Label of each row of a split."""
        rows = getattr(self.prepared, split)
        return [rows.label(row) for row in range(len(rows))]

    def describe(self) -> TaskDescription:
        """What reports say of it."""
        return TaskDescription(
            name=self.name,
            type=self.loaded.task_type,
            dataset=self.loaded.name,
            input=self.input,
            num_labels=max(1, len(self.loaded.label_names)),
            metric=self.main_metric,
            larger_is_better=self.larger_is_better,
            sizes=self.loaded.sizes(),
            fingerprints=self.loaded.fingerprints(),
        )


@dataclass(frozen=True, eq=False)
class TaskSet:
    """The tasks that one network is to do.

    Args:
        tasks: At least one; names differ.
        inputs: Name -> settings of each separate input, as in ``MultiTaskConfig``; None for a single one.
        pretrained: Whether networks begin with weights learned elsewhere.
        kept: Tasks whose trained heads networks begin with.

    Raises:
        SettingsError: When there is no task, or two have one name.
        DataError: When tasks of one group do not label the same rows.

    Example:
        >>> digit = TaskData("digit", loaded, prepare_data(loaded, processor), group="digits")
        >>> tasks = TaskSet([digit])
        >>> [task.name for task in tasks.tasks]
        ['digit']
    """

    tasks: Sequence[TaskData]
    inputs: Mapping[str, Mapping[str, Any]] | None = None
    pretrained: bool = True
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) < len(names):
            raise SettingsError(f"The tasks are {', '.join(names) or 'none'}: name at least one, and none twice.")
        for group in self.groups():
            sampled = [task.name for task in self.of_group(group) if task.prepared.balance.sampler]
            if sampled and len(self.of_group(group)) > 1:
                raise SettingsError(
                    f"{', '.join(sampled)} has a balanced sampler, but its rows are those of other tasks too, whose "
                    "classes it would unbalance. Give it class_weights instead, or rows of its own."
                )
            sizes = {task.name: len(task.prepared.train) for task in self.of_group(group)}
            if len(set(sizes.values())) > 1:
                raise DataError(
                    f"Tasks on the same rows have different numbers of them: {sizes}. Load one with the other's label "
                    "column kept (keep_columns), or give each its own dataset."
                )

    def __getitem__(self, name: str) -> TaskData:
        return next(task for task in self.tasks if task.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(task.name for task in self.tasks)

    def fresh(self, names: Sequence[str]) -> list[str]:
        """Those of these tasks whose heads begin fresh."""
        return [name for name in names if name not in self.kept]

    def groups(self, names: Sequence[str] | None = None) -> tuple[str, ...]:
        """Groups of rows that these tasks (all by default) label."""
        wanted = self.names if names is None else names
        return tuple(dict.fromkeys(task.group for task in self.tasks if task.name in wanted))

    def of_group(self, group: str, names: Sequence[str] | None = None) -> list[TaskData]:
        """The tasks among these (all by default) that label a group's rows."""
        wanted = self.names if names is None else names
        return [task for task in self.tasks if task.group == group and task.name in wanted]

    def inputs_of(self, names: Sequence[str]) -> dict[str, Mapping[str, Any]] | None:
        """Settings of the inputs that these tasks read."""
        if self.inputs is None:
            return None
        read = {self[name].input for name in names}
        return {name: settings for name, settings in self.inputs.items() if name in read}

    def sources(
        self,
        names: Sequence[str],
        *,
        more: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
        rows: Mapping[str, Sequence[int]] | None = None,
        seed: int = 0,
    ) -> dict[str, Source]:
        """Group -> its training rows with the labels of these tasks.

        Args:
            names: Which tasks.
            more: Group -> task -> labels of its rows for tasks that the data itself does not label.
            rows: Group -> which of its rows; all by default.
            seed: Of what a balanced sampler draws.
        """
        found = {}
        for group in self.groups(names):
            tasks = self.of_group(group, names)
            columns: dict[str, Sequence[Any]] = {task.name: task.labels("train") for task in tasks}
            columns.update((more or {}).get(group, {}))
            kept = (rows or {}).get(group)
            if tasks[0].prepared.balance.sampler is not None and kept is None and len(tasks) == 1:
                kept = balanced_places(training_classes(tasks[0].prepared), seed=seed).tolist()
            labelled = WithLabels(tasks[0].prepared.train, columns, kept)
            found[group] = Source(labelled, {name: name for name in columns}, tasks[0].input)
        return found

    def judged(self, name: str, split: str) -> Source:
        """The rows of one task's split, to evaluate on."""
        task = self[name]
        return Source(getattr(task.prepared, split), {name: LABELS}, task.input)

    def collator(self, config: Mapping[str, Mapping[str, Any]]) -> MultiTaskCollator:
        """What packs rows for a network with these tasks (``MultiTaskConfig.tasks``)."""
        collators: dict[str, Callable] = {task.input: task.prepared.collator for task in self.tasks}
        used = {settings["input"] for settings in config.values()}
        return MultiTaskCollator({name: made for name, made in collators.items() if name in used}, config)
