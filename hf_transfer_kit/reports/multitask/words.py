"""What a page and a card say of several tasks on one trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_transfer_kit.metrics.words import FRACTIONS, amount
from hf_transfer_kit.metrics.words import shown as value_words
from hf_transfer_kit.values import MultiTasking, MultiTaskResult, TaskDescription, TaskFigure

SINGLE = "single"


@dataclass(frozen=True)
class TaskEffect:
    """What sharing does to one task.

    Args:
        task: Which.
        differences: Its metric with the method less alone, of each seed, positive where better.
        outcome: Of the verdict on test rows: ``"helped"``, ``"hurt"`` or ``"undecided"``.
    """

    task: TaskDescription
    differences: tuple[float, ...]
    outcome: str

    @property
    def mean(self) -> float:
        """Mean difference."""
        return sum(self.differences) / len(self.differences)


def multitask_words(found: MultiTasking) -> dict[str, Any]:
    """What templates read beside the values themselves.

    Returns:
        ``chosen`` and ``alone``: results of the chosen method and of ``single`` (None where it was not run);
        ``effects``: one ``TaskEffect`` a task; ``sentence``, ``outcome``, ``kept`` (of the source task; "" without);
        ``best``: task -> methods that are best on it; ``shown``: (task, value) -> text.

    Example:
        >>> multitask_words(multitasking)["outcome"]
        'hurt'
    """
    effects = task_effects(found)
    outcomes = {effect.outcome for effect in effects}
    return {
        "chosen": found.result(found.chosen),
        "alone": alone(found),
        "effects": effects,
        "sentence": multitask_sentence(found),
        "outcome": "hurt" if "hurt" in outcomes else "helped" if "helped" in outcomes else "undecided",
        "kept": source_sentence(found),
        "best": {task.name: best_methods(found, task) for task in found.tasks},
        "shown": shown,
    }


def alone(found: MultiTasking) -> MultiTaskResult | None:
    """The result of each task by itself, where it was run."""
    return next((result for result in found.results if result.method == SINGLE), None)


def task_effects(found: MultiTasking, method: str | None = None) -> tuple[TaskEffect, ...]:
    """What a method (the chosen one by default) does to each task against the task alone; none without ``single``."""
    single, result = alone(found), found.result(found.chosen if method is None else method)
    if single is None:
        return ()
    effects = []
    for task in found.tasks:
        sign = 1 if task.larger_is_better else -1
        pairs = zip(result.figures[task.name].by_seed, single.figures[task.name].by_seed, strict=True)
        differences = tuple(sign * (together - apart) for together, apart in pairs)
        verdict = result.verdicts.get(task.name)
        effects.append(TaskEffect(task, differences, verdict.outcome if verdict else "undecided"))
    return tuple(effects)


def multitask_sentence(found: MultiTasking) -> str:
    """What the chosen method gains over the tasks alone, whom sharing helps, and whom it hurts."""
    result, effects = found.result(found.chosen), task_effects(found)
    if not effects:
        return f"{found.chosen} does {len(found.tasks)} tasks in one network; no task was trained alone beside it."
    words = f"{found.chosen} does {len(found.tasks)} tasks in one network"
    if result.delta_m is not None:
        words += f", {100 * result.delta_m:+.1f} % against each task alone (mean relative gain)"
    parts = [
        f"{verb} {', '.join(_by(effect) for effect in effects if effect.outcome == outcome)}"
        for outcome, verb in (("helped", "helps"), ("hurt", "hurts"))
        if any(effect.outcome == outcome for effect in effects)
    ]
    same = [effect.task.name for effect in effects if effect.outcome == "undecided"]
    told = f"Sharing {' and '.join(parts)}" if parts else "Whom sharing helps or hurts cannot be told"
    if parts and same:
        told += f"; of {', '.join(same)} it cannot be told"
    return f"{words}. {told}."


def source_sentence(found: MultiTasking) -> str:
    """How the source task fared: before, and after the chosen method; empty without a source task."""
    if found.source_task is None or found.before is None:
        return ""
    task, result = found.task(found.source_task), found.result(found.chosen)
    after = result.figures[task.name]
    words = f"The source task {task.name} had {mean_and_spread(task, found.before)} before"
    if result.forgetting is None:
        return f"{words}."
    change = f"lost {_amount(task, result.forgetting)}" if result.forgetting > 0 else "lost nothing"
    return f"{words} and has {mean_and_spread(task, after)} after {found.chosen}: it {change}."


def affinity_sentence(matrix: Sequence[Sequence[float | None]], tasks: Sequence[TaskDescription]) -> str:
    """Which two tasks agree most, and which conflict most."""
    pairs = {
        (tasks[row].name, tasks[column].name): cosine
        for row in range(len(tasks))
        for column in range(row)
        if (cosine := matrix[row][column]) is not None
    }
    if not pairs:
        return "No two tasks met."
    (first, second), most = max(pairs.items(), key=lambda pair: pair[1])
    (third, fourth), least = min(pairs.items(), key=lambda pair: pair[1])
    if len(pairs) == 1:
        return f"{second} and {first}: {most:+.2f}."
    return f"Most alike: {second} and {first} ({most:+.2f}); least: {fourth} and {third} ({least:+.2f})."


def best_methods(found: MultiTasking, task: TaskDescription) -> tuple[str, ...]:
    """The methods with the best mean on test rows."""
    sign = 1 if task.larger_is_better else -1
    best = max(sign * result.figures[task.name].test for result in found.results)
    return tuple(result.method for result in found.results if sign * result.figures[task.name].test == best)


def shown(task: TaskDescription, value: float) -> str:
    """A value of the task's metric for people: fractions in %, others as they are."""
    return value_words(task.metric, value)


def mean_and_spread(task: TaskDescription, figure: TaskFigure) -> str:
    """Mean on test rows and, of several seeds, their standard deviation."""
    if len(figure.by_seed) == 1:
        return shown(task, figure.test)
    if task.metric in FRACTIONS:
        return f"{100 * figure.test:.1f} ± {100 * figure.spread:.1f} %"
    return f"{figure.test:.3f} ± {figure.spread:.3f}"


def _by(effect: TaskEffect) -> str:
    return f"{effect.task.name} (by {_amount(effect.task, abs(effect.mean))})"


def _amount(task: TaskDescription, value: float) -> str:
    return amount(task.metric, value)


def why_not_together(found: MultiTasking) -> str:
    """Why no task has a verdict; empty where one has."""
    if found.result(found.chosen).verdicts:
        return ""
    return "Whom sharing helps or hurts is not judged: no task was trained alone beside it (single)."
