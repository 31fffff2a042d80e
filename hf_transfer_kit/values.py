"""Small frozen values that rooms hand to each other; nothing here imports another room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from torch import nn

MODALITIES = ("image", "text", "audio")


@dataclass(frozen=True, eq=False)
class LayerGroup:
    """The parameters at one depth of a network.

    Args:
        name: Name of the group, for people: usually the common prefix of its modules.
        modules: Qualified name -> module, the topmost modules that belong wholly to this group. Every leaf module of
            the model, with or without parameters (dropout, BatchNorm), lies under exactly one group.
        parameters: Qualified name -> parameter. A tied parameter appears once, in its earliest group.
        is_head: Whether this is the task's head (the part a new task replaces).
    """

    name: str
    modules: Mapping[str, nn.Module]
    parameters: Mapping[str, nn.Parameter]
    is_head: bool = False

    @property
    def num_parameters(self) -> int:
        """Number of scalars in the group."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def num_trainable(self) -> int:
        """Number of scalars whose parameter requires a gradient now."""
        return sum(parameter.numel() for parameter in self.parameters.values() if parameter.requires_grad)


@dataclass(frozen=True, eq=False)
class LayerGroups(Sequence[LayerGroup]):
    """Layer groups of one model, input to output, the head (where there is one) last. Printing shows a table."""

    groups: tuple[LayerGroup, ...]

    @overload
    def __getitem__(self, index: int) -> LayerGroup: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[LayerGroup, ...]: ...
    def __getitem__(self, index):
        return self.groups[index]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[LayerGroup]:
        return iter(self.groups)

    @property
    def head(self) -> LayerGroup | None:
        """The head's group, or None when the model has none (a bare encoder, tied language-model heads)."""
        return self.groups[-1] if self.groups and self.groups[-1].is_head else None

    @property
    def body(self) -> tuple[LayerGroup, ...]:
        """All groups before the head."""
        return self.groups[:-1] if self.head is not None else self.groups

    def rows(self) -> list[dict[str, object]]:
        """One plain dict a group: depth, name, modules, parameters, trainable (share in [0, 1]), head."""
        return [
            {
                "depth": depth,
                "name": group.name,
                "modules": list(group.modules),
                "parameters": group.num_parameters,
                "trainable": group.num_trainable / max(group.num_parameters, 1),
                "head": group.is_head,
            }
            for depth, group in enumerate(self.groups)
        ]

    def __str__(self) -> str:
        header = ("depth", "name", "modules", "parameters", "trainable")
        cells = [
            (
                str(row["depth"]),
                str(row["name"]) + (" (head)" if row["head"] else ""),
                _shortened(row["modules"]),
                f"{row['parameters']:,}",
                f"{row['trainable']:.0%}",
            )
            for row in self.rows()
        ]
        widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]
        numeric = {0, 3, 4}
        lines = [
            "  ".join(
                cell.rjust(width) if column in numeric else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in [header, *cells]
        ]
        total = sum(group.num_parameters for group in self.groups)
        trainable = sum(group.num_trainable for group in self.groups)
        return "\n".join([*lines, f"{total:,} parameters, {trainable:,} trainable ({trainable / max(total, 1):.1%})"])


def _shortened(names: Sequence[str], limit: int = 48) -> str:
    text = ", ".join(names)
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation during training. Missing values are None; `accuracy` is a fraction in [0, 1]."""

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
class DepthResult:
    """What freezing at one depth reached, on the last rung of the search that it reached.

    Args:
        depth: Number of frozen layer groups.
        group: Name of the frozen group next to those that learn; empty where nothing is frozen.
        strategy: The text that ``finetune.py --strategy`` takes for this depth.
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
class DepthSearch:
    """How many layer groups to freeze, and what was measured to tell.

    Args:
        chosen: Number of frozen layer groups: the cheapest within one standard error of the best.
        strategy: The text that ``finetune.py --strategy`` takes for it.
        direction: ``"first"`` (from the input) or ``"last"`` (next to the head).
        results: One entry a depth, rising.
        seconds: Wall time by phase: ``total``, ``caching``, ``training``.
        sentence: What was chosen and why, for people.
        notes: What could not be cached, and why.
    """

    chosen: int
    strategy: str
    direction: str
    results: tuple[DepthResult, ...]
    seconds: Mapping[str, float]
    sentence: str
    notes: tuple[str, ...] = ()

    def result(self, depth: int) -> DepthResult:
        """The result of one depth."""
        return next(result for result in self.results if result.depth == depth)

    @property
    def last_rung(self) -> int:
        """The rung on which the choice was made."""
        return max(result.rung for result in self.results)


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


@dataclass(frozen=True)
class Verdict:
    """Whether transfer helped: the winner against from-scratch under the same budget, on the test split.

    Args:
        winner: Strategy chosen on the validation split.
        baseline: Strategy compared with, ``"from_scratch"``.
        difference: Accuracy of the winner minus accuracy of the baseline, in [-1, 1].
        low: Lower end of the bootstrap interval of the difference.
        high: Upper end.
        confidence: Level of the interval, such as 0.95.
        outcome: ``"helped"`` (interval above zero), ``"hurt"`` (below zero) or ``"undecided"``.
        sentence: The same for people.
    """

    winner: str
    baseline: str
    difference: float
    low: float
    high: float
    confidence: float
    outcome: str
    sentence: str


@dataclass(frozen=True)
class ConfusionTable:
    """Counts of test rows: ``counts[i][j]`` rows of true class i were called class j."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
