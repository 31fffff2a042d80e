"""The runs of a comparison: which network, on which rows, for how long, at which rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.multitask import MultiTaskModel, Source, record_logits
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.multitasking.methods import SINGLE, MultiTaskMethod, make_method
from hf_transfer_kit.selection.multitasking.running import TasksRun, run_tasks
from hf_transfer_kit.selection.multitasking.task_data import TaskSet

Callbacks = Callable[[str, int], Sequence[TrainerCallback]]


@dataclass(frozen=True, eq=False)
class Trials:
    """Makes the networks of a comparison and trains them.

    Args:
        make_network: Seed -> network with the weights to begin with; one of several tasks keeps its heads and classes.
        tasks: The tasks and their rows.
        args: Arguments for the stock Trainer.
        budget: Of a task alone.
        seeds: Of the comparison; the first one's runs also keep affinities.
        shared_from: First layer groups that each input has for itself, where a method does not say.
        source_task: The task that is learned first.
        callbacks: Method text and seed -> callbacks for that run.
    """

    make_network: Callable[[int], PreTrainedModel]
    tasks: TaskSet
    args: TrainingArguments
    budget: Budget
    seeds: tuple[int, ...]
    shared_from: int
    source_task: str | None
    callbacks: Callbacks | None

    def own_groups(self, method: MultiTaskMethod) -> int:
        """First layer groups that each input has for itself."""
        return self.shared_from if method.shared_from is None else method.shared_from

    def alone(self, name: str, seed: int, *, title: str = SINGLE) -> TasksRun:
        """One task in a network of its own."""
        method = make_method(SINGLE)
        model = self.new([name], method, seed)
        return run_tasks(
            model,
            self.tasks.sources([name], seed=seed),
            self.tasks,
            method,
            self.args,
            self.budget,
            steps=self.budget.max_steps,
            learning_rate=self._rate(pretrained=self.tasks.pretrained, names=[name]),
            fresh=self.tasks.fresh([name]) if self.tasks.pretrained else [],
            seed=seed,
            callbacks=self.callbacks(f"{title} {name}", seed) if self.callbacks else (),
        )

    def together(self, method: MultiTaskMethod, seed: int, source: MultiTaskModel | None) -> TasksRun:
        """All tasks in one network, which begins with that of the source task where there is one."""
        names = list(self.tasks.names)
        others = [name for name in names if name != self.source_task]
        taught = names if source is None or method.name == "replay" else others
        pretrained = self.tasks.pretrained or source is not None
        model = self.network(method, seed, source)
        if source is None:
            sources = self.tasks.sources(names, seed=seed)
            steps = len(sources) * self.budget.max_steps
        else:
            sources = self._sources(method, source, taught, seed)
            steps = len(self.tasks.groups(others)) * self.budget.max_steps
        return run_tasks(
            model,
            sources,
            self.tasks,
            method,
            self.args,
            self.budget,
            steps=steps,
            learning_rate=self._rate(pretrained=pretrained, names=names),
            fresh=self.tasks.fresh(names if source is None else others) if pretrained else [],
            seed=seed,
            affinity=seed == self.seeds[0],
            callbacks=self.callbacks(method.text, seed) if self.callbacks else (),
        )

    def network(self, method: MultiTaskMethod, seed: int, source: MultiTaskModel | None) -> MultiTaskModel:
        """The network of ``together`` before training."""
        return self.new(self.tasks.names, method, seed) if source is None else self._continued(method, source, seed)

    def new(self, names: Sequence[str], method: MultiTaskMethod, seed: int) -> MultiTaskModel:
        """A network with these tasks, whose heads are fresh."""
        inputs, network = self.tasks.inputs_of(names), self.make_network(seed)
        config = {name: self.tasks[name].config for name in names}
        options: dict[str, Any] = {
            "inputs": inputs,
            "shared_from": self.own_groups(method) if inputs else 0,
            "seed": seed,
        }
        if isinstance(network, MultiTaskModel):
            return MultiTaskModel.from_multitask(network, config, old_classes="kept", **options)
        return MultiTaskModel.from_backbone(network, config, **options)

    def _continued(self, method: MultiTaskMethod, source: MultiTaskModel, seed: int) -> MultiTaskModel:
        weight = {"sequential": 0.0, "lwf": method.weight}.get(method.name)
        config = {name: self.tasks[name].config for name in self.tasks.names}
        if weight is not None:
            name = cast(str, self.source_task)
            config[name] = {**config[name], "weight": weight}
        inputs = self.tasks.inputs
        return MultiTaskModel.from_multitask(
            source, config, inputs=inputs, shared_from=self.own_groups(method) if inputs else 0, seed=seed
        )

    def _sources(
        self, method: MultiTaskMethod, source: MultiTaskModel, taught: Sequence[str], seed: int
    ) -> dict[str, Source]:
        name = cast(str, self.source_task)
        if method.name == "replay":
            count = len(self.tasks[name].prepared.train)
            kept = np.random.default_rng(seed).permutation(count)[: min(method.rows, count)]
            return self.tasks.sources(taught, rows={self.tasks[name].group: np.sort(kept).tolist()}, seed=seed)
        if method.name != "lwf":
            return self.tasks.sources(taught, seed=seed)
        said: dict[str, dict[str, Any]] = {}
        for group in self.tasks.groups(taught):
            task = self.tasks.of_group(group, taught)[0]
            if task.input == self.tasks[name].input:
                rows = task.prepared.train
                said[group] = {name: record_logits(source, rows, task.prepared.collator, task=name, together=True)}
        return self.tasks.sources(taught, more=said, seed=seed)

    def _rate(self, *, pretrained: bool, names: Sequence[str]) -> float:
        kind = "body" if pretrained else "scratch"
        return min(self.budget.rate(self.tasks[name].prepared.reads, kind) for name in names)
