"""What several tasks on one trunk reached, beside each task alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hf_transfer_kit.values.results import Verdict


@dataclass(frozen=True)
class TaskDescription:
    """One task, for people.

    Args:
        name: Its name.
        type: A key of ``HEADS``.
        dataset: Name of its data.
        input: The input that it reads.
        num_labels: Outputs of its head.
        metric: What tells how well it is done: ``accuracy``, ``spearman``, ``f1``, ``error_rate``...
        larger_is_better: Whether a larger value of it is better.
        sizes: Split -> rows.
        fingerprints: Split -> the fingerprint that ``datasets`` gives it.
    """

    name: str
    type: str
    dataset: str
    input: str
    num_labels: int
    metric: str
    larger_is_better: bool
    sizes: Mapping[str, int]
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class TaskFigure:
    """What a method reached on one task, by the task's metric.

    Args:
        validation: Mean over the seeds on validation rows.
        test: Mean over the seeds on test rows; never used to select.
        spread: Standard deviation of ``test`` over the seeds, 0.0 for one seed.
        by_seed: Each seed's value on test rows.
    """

    validation: float
    test: float
    spread: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class MultiTaskResult:
    """What one way of training several tasks reached under the common budget.

    Args:
        method: As typed, such as ``"multitask:balancing=pcgrad"``; ``"single"`` is each task alone.
        summary: One line for people.
        seeds: One entry a run.
        figures: Task -> what was reached.
        delta_m: Mean relative gain over ``single`` on test rows (Maninis et al. 2019), mean over the seeds: 0.02 is two
            per cent better; None without ``single``, and for it.
        delta_m_by_seed: Of each seed.
        validation_delta_m: The same on validation rows; it chooses the method.
        forgetting: How much worse the source task became on test rows, mean over the seeds, in its metric's unit,
            positive when it lost; None without a source task.
        forgetting_by_seed: Of each seed.
        affinity: Mean cosines of the tasks' gradients, row by row in the order of ``MultiTasking.tasks``, of the first
            seed; None where it was not measured, NaN entries as None.
        log: What the first seed's run logged: ``step``, ``loss``, ``loss_<task>``, ``weight_<task>``.
        shared_from: Number of first layer groups that each input has for itself.
        steps: Optimizer steps of a run (of ``single``: of each task's).
        run_steps: Of each run of every seed.
        ended: Why each ended: ``"flat"``, ``"steps"`` or ``"minutes"``.
        seconds: Mean wall time of a run, of all tasks together.
        verdicts: Task -> whether it gains by this method against the task alone, on test rows; empty without
            ``single``, and for it. ``"hurt"`` is negative transfer.
    """

    method: str
    summary: str
    seeds: tuple[int, ...]
    figures: Mapping[str, TaskFigure]
    delta_m: float | None = None
    delta_m_by_seed: tuple[float, ...] = ()
    validation_delta_m: float | None = None
    forgetting: float | None = None
    forgetting_by_seed: tuple[float, ...] = ()
    affinity: tuple[tuple[float | None, ...], ...] | None = None
    log: tuple[Mapping[str, float], ...] = ()
    shared_from: int = 0
    steps: int = 0
    run_steps: tuple[int, ...] = ()
    ended: tuple[str, ...] = ()
    seconds: float = 0.0
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)


@dataclass(frozen=True)
class MultiTasking:
    """A comparison.

    Args:
        tasks: In the order given.
        results: One entry a method, in the order given.
        chosen: Method of the saved model: the best on validation rows among those that do all tasks in one network.
        source_task: The task that the network could do before and is not to lose; None without.
        before: The source task before anything else was learned; None likewise.
    """

    tasks: tuple[TaskDescription, ...]
    results: tuple[MultiTaskResult, ...]
    chosen: str
    source_task: str | None = None
    before: TaskFigure | None = None

    def task(self, name: str) -> TaskDescription:
        """The task of that name."""
        return next(task for task in self.tasks if task.name == name)

    def result(self, method: str) -> MultiTaskResult:
        """The entry of that method."""
        return next(result for result in self.results if result.method == method)
