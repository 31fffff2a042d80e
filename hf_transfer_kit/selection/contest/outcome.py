"""What the outcomes of all comparisons can be turned into."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from hf_transfer_kit.plain_tables import PlainTable, Tabular
from hf_transfer_kit.values import FailedRun, RunFigures

if TYPE_CHECKING:
    import pandas


class Outcome(Tabular):
    """Figures of every run as a table; a comparison has ``runs`` and ``failed``."""

    runs: tuple[RunFigures, ...]
    failed: tuple[FailedRun, ...]

    def to_pandas(self) -> pandas.DataFrame:
        """One row a figure: candidate, seed, split, metric, value, steps, seconds."""
        import pandas

        return pandas.DataFrame(run_rows(self.runs), columns=list(COLUMNS))

    def table(self) -> PlainTable:
        """What is printed: means over the seeds, a row a candidate, the chosen one marked; then what is said of it."""
        figures: dict[str, dict[str, list[float]]] = {}
        for run in self.runs:
            of_candidate = figures.setdefault(run.candidate, {})
            for split, values in run.figures.items():
                for metric, value in values.items():
                    of_candidate.setdefault(f"{split} {metric}", []).append(value)
        names = list(dict.fromkeys(name for values in figures.values() for name in values))
        cells = [
            (candidate, *(f"{fmean(values[name]):.3f}" if name in values else "" for name in names))
            for candidate, values in figures.items()
        ]
        chosen = list(figures).index(self.chosen_candidate) if self.chosen_candidate in figures else None
        said = (*self.sentences(), *map(str, self.failed))
        return PlainTable(("candidate", *names), cells, after=said, marked=chosen)

    @property
    def chosen_candidate(self) -> str:
        """Text of the candidate that was chosen."""
        raise NotImplementedError

    def sentences(self) -> tuple[str, ...]:
        """What is said of the choice."""
        return ()


COLUMNS = ("candidate", "seed", "split", "metric", "value", "steps", "seconds")
"""Of a table of figures."""


def run_rows(runs: tuple[RunFigures, ...]) -> list[tuple[str, int, str, str, float, int, float]]:
    """The figures of runs, one row each, in the order of ``COLUMNS``."""
    return [
        (run.candidate, run.seed, split, metric, value, run.steps, run.seconds)
        for run in runs
        for split, figures in run.figures.items()
        for metric, value in figures.items()
    ]
