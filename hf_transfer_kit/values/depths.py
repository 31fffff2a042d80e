"""How many layers to freeze: what a search measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hf_transfer_kit.plain_tables import PlainTable, Tabular

_COLUMNS = ("frozen", "last of them", "validation", "steps", "seeds", "seconds", "cost")
_LONGEST_NAME = 28


@dataclass(frozen=True)
class DepthResult:
    """What freezing at one depth reached, on the last rung of the search that it reached.

    Args:
        depth: Number of frozen layer groups.
        group: Name of the frozen group next to those that learn; empty where nothing is frozen.
        strategy: The text that ``hf-transfer finetune --strategy`` takes for this depth.
        rung: Index of that rung, from 0.
        steps: Optimizer steps of its runs there.
        seeds: One entry a run.
        accuracy: Mean validation accuracy, in [0, 1].
        error: Standard error of that mean.
        test_accuracy: Mean test accuracy, never used to choose; None where it had short runs only.
        seconds: Mean wall time of a run.
        cost: Of a training row, in forward passes of the whole network, by floating-point operations.
        trainable_parameters: Number of scalars that move.
        cached: Whether what the frozen part gives was computed once.
    """

    depth: int
    group: str
    strategy: str
    rung: int
    steps: int
    seeds: tuple[int, ...]
    accuracy: float
    error: float
    test_accuracy: float | None
    seconds: float
    cost: float
    trainable_parameters: int
    cached: bool


@dataclass(frozen=True)
class DepthSearch(Tabular):
    """How many layer groups to freeze, and what was measured to tell.

    Args:
        chosen: Number of frozen layer groups: the cheapest within one standard error of the best.
        strategy: The text that ``hf-transfer finetune --strategy`` takes for it.
        direction: ``"first"`` (from the input) or ``"last"`` (next to the head).
        results: One entry a depth, rising.
        seconds: Wall time by phase: ``total``, ``caching``, ``training``.
        sentence: What was chosen and why, for people.
        notes: What could not be cached, and why.
        metric: What ``accuracy`` in the results is.
    """

    chosen: int
    strategy: str
    direction: str
    results: tuple[DepthResult, ...]
    seconds: Mapping[str, float]
    sentence: str
    notes: tuple[str, ...] = ()
    metric: str = "accuracy"

    def result(self, depth: int) -> DepthResult:
        """The result of one depth."""
        return next(result for result in self.results if result.depth == depth)

    @property
    def last_rung(self) -> int:
        """The rung on which the choice was made."""
        return max(result.rung for result in self.results)

    def table(self) -> PlainTable:
        """A row a depth, the chosen one marked; then why."""
        cells = [
            (
                str(result.depth),
                result.group[:_LONGEST_NAME],
                f"{result.accuracy:.3f} ± {result.error:.3f}",
                str(result.steps),
                str(len(result.seeds)),
                f"{result.seconds:.1f}",
                f"{result.cost:.2f}",
            )
            for result in self.results
        ]
        chosen = next((place for place, result in enumerate(self.results) if result.depth == self.chosen), None)
        return PlainTable(_COLUMNS, cells, left=frozenset({1}), after=(self.sentence, *self.notes), marked=chosen)
