"""What methods of adaptation reached on a target without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hf_transfer_kit.values.results import Verdict


@dataclass(frozen=True)
class AdaptationPoint:
    """One evaluation during a run.

    Args:
        step: Optimizer steps so far.
        scores: Name -> value of the scores that need no labels of the target.
        accuracy: On the target's validation rows, in [0, 1], for readers alone; None where they have no labels.
    """

    step: int
    scores: Mapping[str, float]
    accuracy: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    """One finding.

    Args:
        name: ``"healthy"`` or the failure's name.
        finding: What was seen, in a sentence with numbers.
        advice: What to change; empty when healthy.
    """

    name: str
    finding: str
    advice: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return self.name == "healthy"

    def __str__(self) -> str:
        return f"{self.name}: {self.finding} {self.advice}".rstrip()


@dataclass(frozen=True)
class LabelShift:
    """How frequent classes are in the source, and in a network's predictions for the target.

    Args:
        classes: Their names.
        source: Share of each among the source rows that were learned from.
        target: Share of each among the classes predicted for target rows.
        predicted_by: The method whose network predicted.
        confidence: Mean probability of what is predicted, in [0, 1]: about so many predictions are right.
        chance: Distance that so few rows hardly pass where nothing has changed.
    """

    classes: tuple[str, ...]
    source: tuple[float, ...]
    target: tuple[float, ...]
    predicted_by: str
    confidence: float
    chance: float

    @property
    def distance(self) -> float:
        """Total variation of the two, in [0, 1]."""
        return sum(abs(a - b) for a, b in zip(self.source, self.target, strict=True)) / 2

    @property
    def sure(self) -> float:
        """What of it neither wrong predictions nor chance explain, in [0, 1]."""
        return max(0.0, self.distance - (1 - self.confidence) - self.chance)


@dataclass(frozen=True)
class UnknownRows:
    """Rejection of rows whose class the source does not have. Shares and areas are in [0, 1].

    Args:
        score: Name of the score that is looked at.
        threshold: Rows with a larger one are rejected.
        held_out: Classes of the source that a second network was not taught, by which both were chosen.
        held_out_auroc: Area under the ROC curve of the score, held-out classes against the others.
        held_out_rejected: Share of rows of held-out classes that the same price would have rejected.
        source_rejected: That price: the share of the source's own rows, of known classes, that is rejected.
        target_rejected: Share of the target's validation rows that is rejected.
        test: Figures of ``open_set_metrics`` on the target's test rows; empty where they have no labels, or no row of
            an unknown class. Never used to choose.
    """

    score: str
    threshold: float
    held_out: tuple[str, ...]
    held_out_auroc: float
    held_out_rejected: float
    source_rejected: float
    target_rejected: float
    test: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AdaptationResult:
    """What one method reached under the common budget.

    Args:
        method: As typed, such as ``"dann:weight=0.5"``.
        summary: One line for people.
        seeds: One entry a run.
        source_accuracy: Mean over the seeds on the source's validation rows, in [0, 1]; None without source rows.
        scores: Name -> mean over the seeds of the scores that need no labels, of the networks that were kept.
        test: Metric name -> mean over the seeds on the target's test rows; empty where they have no labels. Never used
            to select.
        test_spread: Metric name -> standard deviation over the seeds (0.0 for one seed).
        test_by_seed: Accuracy on the target's test rows, one entry a run; empty without labels.
        kept_steps: The step whose weights each run kept.
        points: Evaluations of the first seed's run.
        log: Scalars that the first seed's run logged in training: each entry has ``step`` and names of losses and
            diagnostics.
        diagnoses: Of the first seed's run, the gravest first.
        seconds: Mean wall time of a run, its evaluations included.
        uses_target_labels: Whether the method learns from labels of the target (an upper bound, never chosen).
        test_interval: Ends of the 95 % interval of the target's test accuracy over rows and seeds; None where it was
            not computed.
        steps: That each run did.
        ended: Why each run ended: ``"steps"``, ``"flat"`` or ``"minutes"``.
        verdict: Whether it helped against ``source_only`` (``source_model`` without source rows) on the target's test
            rows; None where they have no labels, that did not run, or the method does not adapt.
    """

    method: str
    summary: str
    seeds: tuple[int, ...]
    source_accuracy: float | None
    scores: Mapping[str, float]
    test: Mapping[str, float] = field(default_factory=dict)
    test_spread: Mapping[str, float] = field(default_factory=dict)
    test_by_seed: tuple[float, ...] = ()
    kept_steps: tuple[int, ...] = ()
    points: tuple[AdaptationPoint, ...] = ()
    log: tuple[Mapping[str, float], ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    seconds: float = 0.0
    uses_target_labels: bool = False
    test_interval: tuple[float, float] | None = None
    verdict: Verdict | None = None
    steps: tuple[int, ...] = ()
    ended: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreAgreement:
    """How well a score would have chosen a checkpoint of each run, told with labels after all choices were made.

    Args:
        score: Its name.
        runs: How many runs were looked at.
        regret: Mean accuracy on the target's validation rows lost against the best checkpoint, in [0, 1].
        worst_regret: The largest.
        within: Runs in which at most 3 points were lost.
        rank_correlation: Mean of Spearman's, in [-1, 1], positive when the score is right.
    """

    score: str
    runs: int
    regret: float
    worst_regret: float
    within: int
    rank_correlation: float


@dataclass(frozen=True)
class FeatureMap:
    """Features of both domains in the plane (t-SNE).

    Args:
        title: What they are features of.
        points: (x, y) of each row.
        is_target: Whether each row is of the target.
        classes: Class index of each row.
        predicted: Whether the classes of target rows are predictions, because they have no labels.
    """

    title: str
    points: tuple[tuple[float, float], ...]
    is_target: tuple[bool, ...]
    classes: tuple[int, ...]
    predicted: bool


@dataclass(frozen=True)
class Adaptation:
    """A comparison of methods on one pair of domains.

    Args:
        source_name: For people.
        target_name: For people.
        results: One entry a method.
        chosen: Method whose first seed's network was saved.
        selected_by: The score that chose checkpoints and method, or ``"last"``.
        agreements: One entry a score; empty where the target's validation rows have no labels.
        feature_maps: Before and after adaptation.
        label_shift: As the network tells it that is surest of one; None where it was not looked at.
        unknown_rows: What the chosen network rejects; None where the target was said to show known classes alone.
    """

    source_name: str
    target_name: str
    results: tuple[AdaptationResult, ...]
    chosen: str
    selected_by: str
    agreements: tuple[ScoreAgreement, ...] = ()
    feature_maps: tuple[FeatureMap, ...] = ()
    label_shift: LabelShift | None = None
    unknown_rows: UnknownRows | None = None

    def result(self, method: str) -> AdaptationResult:
        """The result of one method."""
        return next(result for result in self.results if result.method == method)
