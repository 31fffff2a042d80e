"""Several tasks in one network beside each task alone: one budget, figures for every task, forgetting of the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import numpy as np
from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import MultiTaskModel, delta_m
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection.contest.bootstrap import Pair
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate, check_entries
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.executors import Executor
from hf_transfer_kit.selection.contest.outcome import Outcome
from hf_transfer_kit.selection.contest.store import RunStore, data_key, model_key
from hf_transfer_kit.selection.contest.verdict import Question, judge
from hf_transfer_kit.selection.finetuning.running import to_channels_last
from hf_transfer_kit.selection.multitasking.methods import METHODS, SINGLE, MultiTaskMethod, make_method
from hf_transfer_kit.selection.multitasking.running import TasksRun
from hf_transfer_kit.selection.multitasking.task_data import TaskSet
from hf_transfer_kit.selection.multitasking.trials import Callbacks, Trials
from hf_transfer_kit.values import FailedRun, MultiTaskResult, RunFigures, TaskFigure, Verdict


@dataclass(frozen=True, eq=False)
class MultiTaskComparison(Outcome):
    """The outcome.

    Args:
        results: One entry a method, in the order given.
        chosen: Method of ``model``: the best on validation rows among those that do all tasks in one network.
        model: The first seed's network of that method.
        metrics: Task -> metric name -> value of that network on test rows.
        learning_rate: Of that run, for what did not begin fresh.
        before: The source task's figure before anything else was learned; None without a source task.
        failed: Runs that were given up; their methods are not among the results.
        runs: Every figure of every run.
    """

    results: tuple[MultiTaskResult, ...]
    chosen: str
    model: MultiTaskModel
    metrics: Mapping[str, Mapping[str, float]]
    learning_rate: float
    before: TaskFigure | None = None
    failed: tuple[FailedRun, ...] = ()
    runs: tuple[RunFigures, ...] = ()

    @property
    def chosen_candidate(self) -> str:
        """The chosen method."""
        return self.chosen

    def sentences(self) -> tuple[str, ...]:
        """The verdicts on the chosen method, one a task."""
        chosen = [result for result in self.results if result.method == self.chosen]
        return tuple(verdict.sentence for result in chosen for verdict in result.verdicts.values())


def compare_multitask(
    methods: Sequence[str | MultiTaskMethod],
    make_network: Callable[[int], PreTrainedModel],
    tasks: TaskSet,
    args: TrainingArguments,
    budget: Budget,
    *,
    seeds: Sequence[int] = (0,),
    shared_from: int = 0,
    source_task: str | None = None,
    callbacks: Callbacks | None = None,
    on_result: Callable[[MultiTaskResult], None] | None = None,
    store: RunStore | None = None,
    executor: Executor | None = None,
) -> MultiTaskComparison:
    """Trains every method with every seed; all keep the weights of their last step.

    ``budget.max_steps`` is what a task alone may spend. A network of several tasks may spend as much for each dataset
    that it reads, so that with equal mixing a dataset's rows are read as often as when it is alone. ``sequential``,
    ``lwf`` and ``replay`` begin with the network that learned the source task alone, and spend it on the others. Under
    a budget with patience or minutes a run ends when the validation metric of every task that it learns has flattened.

    Args:
        methods: Texts, or what ``make_method`` makes of them; at least one that does all tasks in one network.
        make_network: Seed -> network with the weights to begin with; its head is replaced.
        tasks: The tasks and their rows.
        args: Arguments for the stock Trainer.
        budget: Steps and rows a step of a task alone, and the rate.
        seeds: One run each, at least one, none twice.
        shared_from: First layer groups that each input has for itself, where a method does not say.
        source_task: The task that is learned first and is not to be lost.
        callbacks: Method text and seed -> callbacks for that run.
        on_result: Called after each method.
        store: Where finished runs are kept and taken from; None keeps none.
        executor: Who does the runs, several at once; None does one after another in this process.

    Raises:
        NotFiniteError: When every method broke, or the source task did.
        SettingsError: Before anything is trained, when a method, the seeds or the source task do not fit.

    Example:
        >>> prepared = prepare_data(loaded, processor)
        >>> tasks = TaskSet([TaskData(name, loaded, prepared, group="digits") for name in ("digit", "again")])
        >>> comparison = compare_multitask(["multitask"], lambda seed: model, tasks, args, budget)
        >>> comparison.chosen
        'multitask'
    """
    chosen_methods = [make_method(m) if isinstance(m, str) else m for m in methods]
    _check(chosen_methods, tasks, seeds, source_task)
    trials = Trials(make_network, tasks, args, budget, tuple(seeds), shared_from, source_task, callbacks)
    contest = Contest(
        TasksRun,
        args,
        budget,
        store,
        executor,
        facts=lambda: {
            "data": data_key([task.prepared for task in tasks.tasks]),
            "weights": model_key(make_network(seeds[0])),
            "tasks": {task.name: task.config for task in tasks.tasks},
            "inputs": tasks.inputs,
            "shared_from": shared_from,
            "first_seed": seeds[0],
        },
    )
    singles = {name: _alone(trials, name) for name in tasks.names if name != source_task}
    source = _alone(trials, source_task, title="source") if source_task else None
    if any(method.name == SINGLE for method in chosen_methods):
        contest.announce(singles.values(), seeds)
    source_runs = contest.runs(source, seeds) if source else []
    if source_runs is None:
        contest.check()
    learned = cast(list[TasksRun], source_runs)
    known = KnownSource(contest, source, dict(zip(seeds, learned, strict=True))) if source else None
    candidates = {method.text: _together(trials, method, known) for method in chosen_methods if method.name != SINGLE}
    contest.announce(candidates.values(), seeds)
    before = _figure([_of(run, source_task, tasks) for run in learned]) if source_task else None
    results: list[MultiTaskResult] = []
    alone: list[Mapping[str, TasksRun]] = []
    first_runs: dict[str, TasksRun] = {}
    # The single tasks first, whatever the order: the others are measured against them.
    for method in sorted(chosen_methods, key=lambda method: method.name != SINGLE):
        if method.name == SINGLE:
            each = {
                name: learned if name == source_task else contest.runs(singles[name], seeds) for name in tasks.names
            }
            if any(found is None for found in each.values()):
                continue
            runs = alone = [
                {name: cast(list[TasksRun], each[name])[index] for name in tasks.names} for index in range(len(seeds))
            ]
        else:
            trained = contest.runs(candidates[method.text], seeds)
            if trained is None:
                continue
            first_runs[method.text] = trained[0]
            runs = [dict.fromkeys(tasks.names, run) for run in trained]
        result = _result(method, runs, alone, tasks, seeds, before if method.name != SINGLE else None, source_task)
        verdicts = _verdicts(method, runs, alone, tasks) if method.name != SINGLE else {}
        result = replace(result, shared_from=trials.own_groups(method), verdicts=verdicts)
        results.append(result)
        if on_result:
            on_result(result)
    if not first_runs:
        contest.check()
    results.sort(key=lambda result: [method.text for method in chosen_methods].index(result.method))
    name = _chosen([result for result in results if result.method in first_runs], tasks)
    run = contest.whole(candidates[name], seeds[0], first_runs[name])
    contest.finished((name, seeds[0]))
    return MultiTaskComparison(
        results=tuple(results),
        chosen=name,
        model=run.model,
        metrics=run.test,
        learning_rate=run.learning_rate,
        before=before,
        failed=tuple(contest.failed),
        runs=tuple(contest.ran),
    )


@dataclass(frozen=True, eq=False)
class KnownSource:
    """The networks that learned the source task alone, as far as other runs begin with them."""

    contest: Contest[TasksRun]
    candidate: Candidate[TasksRun]
    runs: Mapping[int, TasksRun]
    models: dict[int, MultiTaskModel] = field(default_factory=dict)

    def need(self, seed: int) -> None:
        """Makes a seed's network ready, which is trained again where its weights are gone."""
        if seed not in self.models:
            self.models[seed] = self.contest.whole(self.candidate, seed, self.runs[seed]).model


def _alone(trials: Trials, name: str, *, title: str = SINGLE) -> Candidate[TasksRun]:
    """One task alone."""
    single, rows = make_method(SINGLE), trials.tasks[name].prepared
    return Candidate(
        f"{title} {name}",
        partial(trials.alone, name, title=title),
        lambda seed: to_channels_last(trials.new([name], single, seed), rows),
    )


def _together(trials: Trials, method: MultiTaskMethod, known: KnownSource | None) -> Candidate[TasksRun]:
    """All tasks in one network."""
    models = known.models if known and method.continues else {}
    rows = trials.tasks.tasks[0].prepared
    return Candidate(
        method.text,
        lambda seed: trials.together(method, seed, models.get(seed)),
        lambda seed: to_channels_last(trials.network(method, seed, models.get(seed)), rows),
        {"method": repr(method), "source_task": trials.source_task if method.continues else None},
        before=known.need if known and method.continues else lambda seed: None,
    )


def _check(methods: Sequence[MultiTaskMethod], tasks: TaskSet, seeds: Sequence[int], source_task: str | None) -> None:
    texts = [method.text for method in methods]
    check_entries("methods", texts, seeds)
    if all(method.name == SINGLE for method in methods):
        raise SettingsError(
            f"{', '.join(texts) or 'No method'} does not do all tasks in one network: add one of "
            f"{', '.join(name for name in METHODS if name != SINGLE)}."
        )
    if source_task is not None and source_task not in tasks.names:
        raise SettingsError(
            f"source_task={source_task!r} is no task; the tasks are {', '.join(tasks.names)}."
            f"{did_you_mean(source_task, tasks.names)}"
        )
    if source_task is not None and len(tasks.names) == 1:
        raise SettingsError(f"{source_task!r} is the only task, so nothing can be learned after it. Add another task.")
    continuing = [method.text for method in methods if method.continues]
    if continuing and source_task is None:
        raise SettingsError(
            f"{', '.join(continuing)} keeps a source task, but none is named. Say which task the network can do first: "
            "--source_task."
        )
    if source_task and continuing and len(tasks.of_group(tasks[source_task].group)) > 1:
        raise SettingsError(
            f"{source_task!r} labels the same rows as other tasks, so they would not be learned after it. Leave out "
            f"{', '.join(continuing)}, or load the source task's rows as a dataset of their own."
        )
    _check_lwf(methods, tasks, source_task)


def _check_lwf(methods: Sequence[MultiTaskMethod], tasks: TaskSet, source_task: str | None) -> None:
    """Refuses learning without forgetting where the source's network cannot read the others' rows."""
    lwf = [method.text for method in methods if method.name == "lwf"]
    if not lwf:
        return
    source = tasks[cast(str, source_task)]
    if source.loaded.task_type != "classification":
        raise SettingsError(
            f"{lwf[0]} holds the classes that a network says, but {source_task!r} is {source.loaded.task_type}. Use "
            "replay instead."
        )
    if all(task.input != source.input for task in tasks.tasks if task.name != source_task):
        raise SettingsError(
            f"{lwf[0]}: no other task reads {source_task}'s input {source.input!r}, so its network can say nothing of "
            "their rows. Use replay instead."
        )


def _of(run: TasksRun, name: str, tasks: TaskSet) -> tuple[float, float]:
    """The task's main metric on validation and on test rows."""
    metric = tasks[name].main_metric
    return run.validation[name][metric], run.test[name][metric]


def _figure(pairs: Sequence[tuple[float, float]]) -> TaskFigure:
    validation, test = (tuple(values) for values in zip(*pairs, strict=True))
    spread = float(np.std(test, ddof=1)) if len(test) > 1 else 0.0
    return TaskFigure(float(np.mean(validation)), float(np.mean(test)), spread, test)


def _result(
    method: MultiTaskMethod,
    runs: Sequence[Mapping[str, TasksRun]],
    alone: Sequence[Mapping[str, TasksRun]],
    tasks: TaskSet,
    seeds: Sequence[int],
    before: TaskFigure | None,
    source_task: str | None,
) -> MultiTaskResult:
    figures = {name: _figure([_of(run[name], name, tasks) for run in runs]) for name in tasks.names}
    lower = {name for name in tasks.names if not tasks[name].larger_is_better}
    found: dict[str, tuple[float | None, ...]] = {}
    if alone and method.name != SINGLE:
        for split, place in (("validation", 0), ("test", 1)):
            found[split] = tuple(
                _gain(run, single, tasks, lower, place) for run, single in zip(runs, alone, strict=True)
            )
    gains = {split: cast(tuple[float, ...], values) for split, values in found.items() if None not in values}
    lost: tuple[float, ...] = ()
    if before is not None and source_task is not None:
        sign = 1 if tasks[source_task].larger_is_better else -1
        lost = tuple(sign * (was - now) for was, now in zip(before.by_seed, figures[source_task].by_seed, strict=True))
    each = [list({id(run): run for run in of_seed.values()}.values()) for of_seed in runs]
    first = each[0][0]
    return MultiTaskResult(
        method=method.text,
        summary=METHODS[method.name],
        seeds=tuple(seeds),
        figures=figures,
        delta_m=float(np.mean(gains["test"])) if "test" in gains else None,
        delta_m_by_seed=gains.get("test", ()),
        validation_delta_m=float(np.mean(gains["validation"])) if "validation" in gains else None,
        forgetting=float(np.mean(lost)) if lost else None,
        forgetting_by_seed=lost,
        affinity=first.affinity,
        log=tuple(dict(entry) for entry in first.log if "loss" in entry) if method.name != SINGLE else (),
        steps=first.steps,
        run_steps=tuple(run.steps for of_seed in each for run in of_seed),
        ended=tuple(run.ended for of_seed in each for run in of_seed),
        seconds=float(np.mean([sum(run.seconds for run in of_seed) for of_seed in each])),
    )


def _verdicts(
    method: MultiTaskMethod,
    runs: Sequence[Mapping[str, TasksRun]],
    alone: Sequence[Mapping[str, TasksRun]],
    tasks: TaskSet,
) -> dict[str, Verdict]:
    """Task -> whether the method helps or hurts it against the task alone; empty where none was trained alone."""
    found = {}
    for task in tasks.tasks if alone else ():
        sides = [
            [task.metrics.by_row(task.main_metric, run[task.name].said[task.name], run[task.name].true[task.name])
             for run in side]
            for side in (runs, alone)
        ]  # fmt: skip
        question = Question(
            helped=f"{task.name} gains by sharing.",
            hurt=f"{task.name} loses by sharing: this is negative transfer.",
            undecided=f"Whether {task.name} gains or loses by sharing cannot be told: the interval holds zero.",
            against=f"{method.text} against {task.name} alone",
        )
        verdict = judge(method.text, SINGLE, [Pair(*sides)], question, metric=task.main_metric)
        found[task.name] = replace(verdict, about=task.name)
    return found


def _gain(
    run: Mapping[str, TasksRun], single: Mapping[str, TasksRun], tasks: TaskSet, lower: set[str], place: int
) -> float | None:
    """Mean relative gain of a run; None where a metric is not defined or 0 alone, which no gain is relative to."""
    together = {name: _of(run[name], name, tasks)[place] for name in tasks.names}
    apart = {name: _of(single[name], name, tasks)[place] for name in tasks.names}
    if not all(np.isfinite([*together.values(), *apart.values()])) or 0 in apart.values():
        return None
    return delta_m(together, apart, lower)


def _chosen(results: Sequence[MultiTaskResult], tasks: TaskSet) -> str:
    """The best on validation rows: by relative gain over the single tasks, else by the mean over the tasks."""
    if all(result.validation_delta_m is not None for result in results):
        return max(results, key=lambda result: cast(float, result.validation_delta_m)).method
    signs = {name: 1 if tasks[name].larger_is_better else -1 for name in tasks.names}
    return max(
        results, key=lambda result: sum(signs[name] * figure.validation for name, figure in result.figures.items())
    ).method
