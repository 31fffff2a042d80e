"""What classes never seen were named with, and how often rightly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from hf_transfer_kit.plain_tables import PlainTable, Tabular
from hf_transfer_kit.values.results import ConfusionTable, Verdict

_FIGURES = ("unseen_accuracy", "generalised_seen_accuracy", "generalised_unseen_accuracy", "harmonic_mean", "ausuc")
_COLUMNS = ("method", "unseen", "all: seen", "all: unseen", "harmonic", "ausuc", "seconds")


@dataclass(frozen=True)
class UnseenFigures:
    """What a method reached on one split of the classes; accuracies are means over classes, in [0, 1].

    Args:
        unseen_accuracy: Rows of unseen classes, named among these alone.
        generalised_seen_accuracy: Test rows of seen classes, named among all, calibrated.
        generalised_unseen_accuracy: Rows of unseen classes, named among all, calibrated.
        harmonic_mean: Of the two.
        uncalibrated: The same three without calibration, by the same names.
        ausuc: Area under the seen-unseen curve.
        gamma: What calibration subtracts from the scores of seen classes.
        options: Of the method, chosen on seen classes.
        pseudo_harmonic: The harmonic mean that they were chosen with, on seen classes that played unseen ones.
        pseudo_unseen: Accuracy on these classes, named among themselves alone.
    """

    unseen_accuracy: float
    generalised_seen_accuracy: float
    generalised_unseen_accuracy: float
    harmonic_mean: float
    uncalibrated: Mapping[str, float]
    ausuc: float
    gamma: float
    options: Mapping[str, Any]
    pseudo_harmonic: float
    pseudo_unseen: float = 0.0


@dataclass(frozen=True)
class ZeroShotResult:
    """What one method reached on every split.

    Args:
        method: Key of ``hf_transfer_kit.zero_shot.METHODS`` or ``JOINT_METHODS``.
        summary: One line for people.
        table: What describes the classes: ``"attributes"``, or a name for their texts.
        splits: In the order of ``UnseenClasses.unseen``.
        seconds: Wall time of all splits, without features.
    """

    method: str
    summary: str
    table: str
    splits: tuple[UnseenFigures, ...]
    seconds: float

    @property
    def name(self) -> str:
        """For people and for baselines: the method, and its table where it is not the attributes."""
        return self.method if self.table == "attributes" else f"{self.method} on {self.table}"

    def mean(self, figure: str) -> float:
        """Mean of a figure over the splits."""
        return fmean(getattr(split, figure) for split in self.splits)

    def spread(self, figure: str) -> float:
        """Standard deviation over the splits, 0.0 for one."""
        return stdev(getattr(split, figure) for split in self.splits) if len(self.splits) > 1 else 0.0

    def shown(self, figure: str) -> str:
        """Mean and spread of a figure for people: a percentage."""
        text = f"{100 * self.mean(figure):.1f}"
        return f"{text} ± {100 * self.spread(figure):.1f} %" if len(self.splits) > 1 else f"{text} %"


@dataclass(frozen=True)
class SeenUnseenLine:
    """The seen-unseen curve of one method on the first split.

    Args:
        name: The method's.
        seen: Accuracy on seen classes, falling.
        unseen: On unseen ones, rising.
        point: Both at the chosen gamma.
    """

    name: str
    seen: tuple[float, ...]
    unseen: tuple[float, ...]
    point: tuple[float, float]


@dataclass(frozen=True)
class AttributeFigure:
    """How well one attribute is read off test rows of unseen classes of the first split.

    Args:
        attribute: Its name.
        accuracy: Mean over classes, in [0, 1], of rows of which it is rightly said whether the class has it.
        share: Share of the seen classes that have it.
    """

    attribute: str
    accuracy: float
    share: float


@dataclass(frozen=True)
class UnseenClasses(Tabular):
    """A comparison.

    Args:
        classes: All of them.
        attributes: Names of the attributes; empty where prompts alone describe the classes, like ``values``.
        values: Of the table, row by row.
        unseen: Names of the unseen classes of each split.
        results: One entry a method and table, in the order given.
        chosen: Name of the result that is best on seen classes that play unseen ones: the saved model's, of the first
            split.
        chance: Accuracy of guessing among the unseen classes.
        lookup: Accuracy among the unseen classes if every attribute were read rightly, mean over the splits.
        labelled: Accuracy among the unseen classes of a linear classifier that had their labels, of each split; empty
            where it was not measured.
        lines: Seen-unseen curves of the first split.
        confusion: Of the chosen method on test rows of the unseen classes of the first split.
        attribute_figures: How well attributes are read, from the best read to the worst.
        explanations: Sentences on some test rows of unseen classes.
        findings: What the table cannot tell.
        verdict: Whether the chosen method names unseen classes better than the next best one, told on test rows; by
            seen classes that play unseen ones the chosen method is the best. None with a single method.
    """

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    unseen: tuple[tuple[str, ...], ...]
    results: tuple[ZeroShotResult, ...]
    chosen: str
    chance: float
    lookup: float
    labelled: tuple[float, ...] = ()
    lines: tuple[SeenUnseenLine, ...] = ()
    confusion: ConfusionTable | None = None
    attribute_figures: tuple[AttributeFigure, ...] = ()
    explanations: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    verdict: Verdict | None = None

    def result(self, name: str) -> ZeroShotResult:
        """The entry of that name."""
        return next(result for result in self.results if result.name == name)

    def table(self) -> PlainTable:
        """Test rows, mean and spread over the splits: a row a method, the chosen one marked."""
        cells = [
            (result.name, *(result.shown(figure) for figure in _FIGURES), f"{result.seconds:.1f}")
            for result in self.results
        ]
        below = f"guessing names {100 * self.chance:.1f} %"
        if self.attributes:
            below += f"; attributes read rightly {100 * self.lookup:.1f} %"
        if self.labelled:
            below += f"; a classifier with their labels {100 * fmean(self.labelled):.1f} %"
        chosen = next((place for place, result in enumerate(self.results) if result.name == self.chosen), None)
        return PlainTable(_COLUMNS, cells, after=(below,), marked=chosen)
