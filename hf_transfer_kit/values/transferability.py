"""What features say about a new task before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hf_transfer_kit.plain_tables import PlainTable, Tabular


@dataclass(frozen=True)
class Score:
    """One measure of transferability; higher is better.

    Args:
        value: The score on all rows.
        error: Its standard error, from random halves of the rows; None where it was not asked for, or the rows are too
            few for it.
    """

    value: float
    error: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.4g}" if self.error is None else f"{self.value:.4g} ± {self.error:.2g}"


@dataclass(frozen=True)
class Transferability(Tabular):
    """How well a network's features suit a labelled dataset.

    Args:
        scores: Name -> score, for those that could be computed.
        rows: Number of rows.
        classes: Number of classes found among them.
        width: Number of features.
        left_out: Name -> why a score could not be computed.
    """

    scores: Mapping[str, Score]
    rows: int
    classes: int
    width: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.scores[name].value

    def table(self) -> PlainTable:
        """What is printed."""
        counts = f"{self.rows:,} rows, {self.classes} classes, {self.width:,} features"
        cells = [(name, str(score)) for name, score in self.scores.items()]
        return PlainTable(("score", "value"), cells, before=(counts,), after=_told(self.left_out))


@dataclass(frozen=True)
class RankedSource:
    """One candidate of a ranking.

    Args:
        name: As it was given.
        score: What it was ranked by.
        scores: All that was measured.
        parameters: Weights of its network.
        width: Number of its features.
        seconds: What measuring it took: loading, features, scores.
        first_share: Share of draws, each score within its error, in which it comes first.
    """

    name: str
    score: Score
    scores: Mapping[str, Score]
    parameters: int
    width: int
    seconds: float
    first_share: float


@dataclass(frozen=True)
class SourceRanking(Tabular):
    """Candidates from best to worst, before any fine-tuning.

    Args:
        by: Name of the score they are ranked by.
        dataset: What they were measured on.
        rows: Rows they were measured on.
        sources: Best first.
        skipped: Name -> why a candidate could not be measured.
    """

    by: str
    dataset: str
    rows: int
    sources: tuple[RankedSource, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def table(self) -> PlainTable:
        """What is printed."""
        cells = [
            (
                source.name,
                str(source.score),
                f"{source.first_share:.0%}",
                f"{source.parameters / 1e6:.1f}M",
                f"{source.seconds:.1f}",
            )
            for source in self.sources
        ]
        return PlainTable(("source", self.by, "comes first", "weights", "seconds"), cells, after=_told(self.skipped))


def _told(left_out: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name} was left out: {reason}" for name, reason in left_out.items())
