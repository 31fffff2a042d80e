"""What is known of a case before training, and what is advised for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_transfer_kit.plain_tables import PlainTable, Tabular
from hf_transfer_kit.values.transferability import SourceRanking


@dataclass(frozen=True)
class SuspectedLabel:
    """A training row whose label the other rows contradict.

    Args:
        row: Its place in the training split as it was given, or as prepared where that is not known.
        label: What it is labelled.
        likelier: The class that it looks like, predicted without it.
        margin: Score of that class above the label's; own classes score about 1, others about -1.
        file: Name of its file; empty where it has none.
    """

    row: int
    label: str
    likelier: str
    margin: float
    file: str = ""


@dataclass(frozen=True)
class CaseMeasures:
    """Size of the data and its likeness to what the network knows, measured without training the network.

    Args:
        rows: Labelled training rows.
        classes: Number of classes.
        smallest_class: Rows of the class with the fewest; 0 where one has none.
        parameters: Weights of the network.
        modality: ``"image"``, ``"text"`` or ``"audio"``.
        measured_rows: Rows that the probes were fitted on.
        probe_accuracy: Of a ridge classifier on the network's features, each row left out in turn, in [0, 1].
        half_accuracy: The same learned from half as many rows.
        random_accuracy: The same on features of the architecture with random weights.
        seconds: What measuring took.
        suspected: Rows among those measured whose label the others contradict, the clearest first.
    """

    rows: int
    classes: int
    smallest_class: int
    parameters: int
    modality: str
    measured_rows: int
    probe_accuracy: float
    half_accuracy: float
    random_accuracy: float
    seconds: float = 0.0
    suspected: tuple[SuspectedLabel, ...] = ()

    @property
    def rows_per_class(self) -> float:
        """Mean number of rows of a class."""
        return self.rows / self.classes

    @property
    def known(self) -> float:
        """Probe accuracy above guessing, as a share of what there is above guessing; in (-1, 1]."""
        return self._above_guessing(self.probe_accuracy)

    @property
    def known_by_random(self) -> float:
        """The same on features of random weights."""
        return self._above_guessing(self.random_accuracy)

    @property
    def gain(self) -> float:
        """Probe accuracy above that of random weights: what the source's training is worth here."""
        return self.probe_accuracy - self.random_accuracy

    @property
    def slope(self) -> float:
        """Probe accuracy won by the second half of the rows: what more labels may be worth."""
        return self.probe_accuracy - self.half_accuracy

    def _above_guessing(self, accuracy: float) -> float:
        return (accuracy - 1 / self.classes) / (1 - 1 / self.classes)


@dataclass(frozen=True)
class StrategyOutlook:
    """What one strategy is expected to reach.

    Args:
        strategy: As ``hf-transfer finetune --strategy`` takes it.
        difference: Expected test accuracy less that of fine-tuning everything.
        error: Standard error of it for a single case.
    """

    strategy: str
    difference: float
    error: float

    def __str__(self) -> str:
        return f"{100 * self.difference:+.1f} ± {100 * self.error:.1f}"


@dataclass(frozen=True)
class StrategyTrial:
    """A short run of one strategy.

    Args:
        strategy: As ``hf-transfer finetune --strategy`` takes it.
        accuracy: Share of the validation rows that it got right.
        error: Standard error of that share.
        seconds: Wall time of the run.
    """

    strategy: str
    accuracy: float
    error: float
    seconds: float


@dataclass(frozen=True)
class Trials:
    """Short runs of the likeliest strategies, which a plan was made of besides what was expected.

    Args:
        runs: The likeliest to be the best first.
        steps: Of each run.
        rows: Validation rows that each was asked.
        share: Rows that they trained on, as a share of what racing all strategies in full would train on.
        expected: What was expected of each strategy before, best first.
        broken: A sentence for each that did not end.
    """

    runs: tuple[StrategyTrial, ...]
    steps: int
    rows: int
    share: float
    expected: tuple[StrategyOutlook, ...]
    broken: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Wall time of all, of those that were kept from before what they took then."""
        return sum(run.seconds for run in self.runs)


@dataclass(frozen=True)
class Recommendation(Tabular):
    """A plan for a network and a dataset, with reasons.

    Args:
        strategy: As ``hf-transfer finetune --strategy`` takes it.
        quadrant: ``"small, similar"``, ``"small, different"``, ``"large, similar"`` or ``"large, different"``.
        plan: Flags of ``hf-transfer finetune`` and their values, which ``--config`` reads.
        reasons: Sentences.
        confidence: Share of measured cases in which such advice was within a point of the best strategy, each family
            of datasets left out in turn; None where that was not measured. One share for all cases: neither the lead
            over the runner-up nor nearness to measured cases parted good advice from bad.
        would_change: Sentences: what would lead to another plan.
        outlook: What each strategy is expected to reach, best first; with trials, of those that were tried.
        measures: What was measured.
        near_cases: Measured cases near this one, nearest first, and what strategies reached in them.
        trials: Short runs that the outlook was joined with; None where there were none.
    """

    strategy: str
    quadrant: str
    plan: Mapping[str, Any]
    reasons: tuple[str, ...]
    confidence: float | None
    would_change: tuple[str, ...]
    outlook: tuple[StrategyOutlook, ...]
    measures: CaseMeasures
    near_cases: tuple[Mapping[str, Any], ...] = ()
    trials: Trials | None = None

    def __str__(self) -> str:
        return "\n".join([self._plan(), *self.reasons, *self._changes()])

    def table(self) -> PlainTable:
        """The sentences of the text, and between them what each strategy is expected to reach."""
        cells = [(each.strategy, f"{100 * each.difference:+.1f}", f"{100 * each.error:.1f}") for each in self.outlook]
        header = ("strategy", "expected points against full", "standard error")
        chosen = next((place for place, each in enumerate(self.outlook) if each.strategy == self.strategy), None)
        before = (self._plan(), *self.reasons)
        return PlainTable(header, cells, before=before, after=self._changes(), marked=chosen)

    def _plan(self) -> str:
        sure = "" if self.confidence is None else f" (within a point of the best in {self.confidence:.0%} of cases)"
        return f"{self.quadrant}: {self.strategy}{sure}"

    def _changes(self) -> tuple[str, ...]:
        return tuple(f"What would change this: {sentence}" for sentence in self.would_change)


@dataclass(frozen=True)
class CasePoint:
    """A measured case as a point of a picture.

    Args:
        name: Source and target.
        rows_per_class: Its size.
        gain: Its likeness.
        won: The strategy that was best.
    """

    name: str
    rows_per_class: float
    gain: float
    won: str


@dataclass(frozen=True)
class Advice:
    """What a report says of a choice that is still to be made.

    Args:
        recommendation: The plan for the network that ranked first.
        many_rows: Rows a class from which data counts as large.
        similar_gain: Gain from which a source counts as similar.
        cases: The measured cases that plans rest on.
        within_a_point: Share of cases in which advice fitted without that family of datasets lost a point at most.
        mean_lost: What advice lost there on average, and what always fine-tuning everything lost, in [0, 1].
        ranking: Of several networks; None for one.
    """

    recommendation: Recommendation
    many_rows: float
    similar_gain: float
    cases: tuple[CasePoint, ...]
    within_a_point: float
    mean_lost: Mapping[str, float]
    ranking: SourceRanking | None = None
