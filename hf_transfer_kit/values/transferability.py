"""What features say about a new task before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
class Transferability:
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
class SourceRanking:
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

    def __str__(self) -> str:
        wide = max([len("source"), *(len(source.name) for source in self.sources)])
        lines = [f"{'source':{wide}}  {self.by:>20}  comes first  weights  seconds"]
        for source in self.sources:
            measured = f"{source.name:{wide}}  {source.score!s:>20}  {source.first_share:>11.0%}"
            lines.append(f"{measured}  {source.parameters / 1e6:>6.1f}M  {source.seconds:>7.1f}")
        lines += [f"{name} was left out: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)
