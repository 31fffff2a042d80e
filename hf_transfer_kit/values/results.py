"""What strategies reached, and whether transfer helped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation during training. Missing values are None; ``accuracy`` stands for the metric of the result."""

    step: int
    train_loss: float | None = None
    validation_loss: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class RateCurve:
    """Loss over growing learning rates.

    Args:
        rates: Rate of each step, rising.
        losses: Training loss of each step, finite.
        smoothed: Its running mean.
        steepest: Rate at which the smoothed loss falls fastest over the logarithm of the rate: a good rate to try.
        tenth_of_minimum: A tenth of the rate at which the smoothed loss is lowest: the more careful choice, usually.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    tenth_of_minimum: float


@dataclass(frozen=True)
class StrategyResult:
    """What one strategy reached under the race's budget.

    Args:
        strategy: Registered name, such as ``"head_only"``.
        summary: One sentence for people.
        seeds: One entry a run.
        validation: Metric name -> mean over the seeds on the validation split; fractions in [0, 1].
        test: The same on the test split. Never used to select.
        test_spread: Metric name -> standard deviation over the seeds (0.0 for one seed).
        curve: Evaluations of the first seed's run.
        trainable_parameters: Number of scalars that may move (in the last stage of a schedule).
        total_parameters: Number of scalars in the model.
        seconds: Mean wall time of a run.
        test_interval: Ends of the 95 % interval of ``metric`` on test rows over rows and seeds; None where it was not
            computed.
        metric: What tells how well the task is done, a key of ``test``.
        test_by_seed: Its value on test rows, one entry a run.
        steps: Optimizer steps of each run.
        ended: Why each ended: ``"flat"``, ``"steps"`` or ``"minutes"``.
    """

    strategy: str
    summary: str
    seeds: tuple[int, ...]
    validation: Mapping[str, float]
    test: Mapping[str, float]
    test_spread: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[CurvePoint, ...] = ()
    trainable_parameters: int = 0
    total_parameters: int = 0
    seconds: float = 0.0
    test_interval: tuple[float, float] | None = None
    metric: str = "accuracy"
    test_by_seed: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()
    ended: tuple[str, ...] = ()


@dataclass(frozen=True)
class Elimination:
    """A strategy that was given up before the race.

    Args:
        strategy: Its text.
        steps: Of the run after which it was given up.
        max_steps: Of a full run.
        accuracy: What it had reached on validation rows, by ``metric``.
        metric: What the race chooses by.
    """

    strategy: str
    steps: int
    max_steps: int
    accuracy: float
    metric: str = "accuracy"

    @property
    def sentence(self) -> str:
        """The same for people."""
        return (
            f"{self.strategy} was given up after a run of {self.steps} of {self.max_steps} steps, at "
            f"{self._reached} on validation."
        )

    @property
    def _reached(self) -> str:
        if self.metric == "accuracy":
            return f"{100 * self.accuracy:.1f} %"
        return f"{self.metric.replace('_', ' ')} {self.accuracy:.3f}"


@dataclass(frozen=True)
class RunFigures:
    """Every figure of one run of a comparison.

    Args:
        candidate: Text of the strategy or method; what is left out of its data where runs differ in that.
        seed: Of the run.
        figures: Split -> metric -> value.
        steps: Optimizer steps.
        seconds: Wall time of training, its evaluations included.
    """

    candidate: str
    seed: int
    figures: Mapping[str, Mapping[str, float]]
    steps: int
    seconds: float


@dataclass(frozen=True)
class FailedRun:
    """A run that was given up; its candidate cannot win.

    Args:
        candidate: Text of the strategy or method.
        seed: Of the run.
        step: After how many optimizer steps.
        reason: The sentence.
    """

    candidate: str
    seed: int
    step: int
    reason: str

    def __str__(self) -> str:
        return f"{self.candidate}, seed {self.seed}, failed: {self.reason}"


@dataclass(frozen=True)
class Verdict:
    """Whether something helped: one candidate against a baseline under the same budget, on the same test rows.

    Args:
        winner: What is judged: the strategy or method chosen on the validation split, or another one.
        baseline: What it is compared with, such as ``"from_scratch"``.
        difference: Metric of the first minus metric of the baseline, means over the runs; of a metric of which less is
            better, below zero is an improvement.
        low: Lower end of the bootstrap interval of the difference.
        high: Upper end.
        confidence: Level of the interval, such as 0.95.
        outcome: ``"helped"`` (the whole interval on the better side of zero), ``"hurt"`` (on the worse) or
            ``"undecided"``.
        sentence: The same for people.
        metric: What was compared.
        larger_is_better: Whether a larger value of it is better.
        winner_runs: The metric of each run of the first, one a seed or a split; their mean less that of the baseline's
            is the difference.
        baseline_runs: Of each run of the baseline.
        about: Which of several tasks; empty where there is one.
    """

    winner: str
    baseline: str
    difference: float
    low: float
    high: float
    confidence: float
    outcome: str
    sentence: str
    metric: str = "accuracy"
    larger_is_better: bool = True
    winner_runs: tuple[float, ...] = ()
    baseline_runs: tuple[float, ...] = ()
    about: str = ""


@dataclass(frozen=True)
class Mistake:
    """A test row that the saved model names wrongly, and is sure of.

    Args:
        row: Its place in the test split as it was given, or as prepared where that is not known.
        label: What it is labelled.
        predicted: What the model names it.
        probability: Of that class, by the model.
        file: Name of its file; empty where it has none.
        shown: What the page shows of it: ``"text"``, ``"picture"`` or nothing.
        text: The beginning of it; stays out of report.json.
        picture: As a small JPEG; likewise.
    """

    row: int
    label: str
    predicted: str
    probability: float
    file: str = ""
    shown: str = ""
    text: str = ""
    picture: bytes = b""


@dataclass(frozen=True)
class SourceResult:
    """What another pretrained network reached on the same target under the same budget.

    Args:
        source: Its name for people.
        result: Of its best strategy on validation.
        verdict: The first network's winner against it; ``"helped"`` says that the first network was the better source.
    """

    source: str
    result: StrategyResult
    verdict: Verdict


@dataclass(frozen=True)
class ClassFigures:
    """How well one class is told: its test rows, and recall, precision and F1 in [0, 1]."""

    label: str
    rows: int
    recall: float
    precision: float
    f1: float


@dataclass(frozen=True)
class ConfusionTable:
    """Counts of test rows: ``counts[i][j]`` rows of true class i were called class j."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def by_class(self) -> tuple[ClassFigures, ...]:
        """Figures of each class that has test rows, in the order of the classes."""
        called = [sum(column) for column in zip(*self.counts, strict=True)]
        found = []
        for index, (label, row) in enumerate(zip(self.labels, self.counts, strict=True)):
            if not (rows := sum(row)):
                continue
            right, named = row[index], called[index]
            found.append(
                ClassFigures(label, rows, right / rows, right / named if named else 0.0, 2 * right / (rows + named))
            )
        return tuple(found)
