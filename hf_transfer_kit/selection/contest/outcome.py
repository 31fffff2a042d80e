"""What the outcomes of all comparisons can be turned into."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from hf_transfer_kit.values import FailedRun, RunFigures

if TYPE_CHECKING:
    import pandas


class Outcome:
    """Figures of every run as a table; a comparison has ``runs`` and ``failed``."""

    runs: tuple[RunFigures, ...]
    failed: tuple[FailedRun, ...]

    def to_pandas(self) -> pandas.DataFrame:
        """One row a figure: candidate, seed, split, metric, value, steps, seconds."""
        import pandas

        return pandas.DataFrame(run_rows(self.runs), columns=list(COLUMNS))

    def _repr_html_(self) -> str:
        """For notebooks: means over the seeds, one row a candidate, and what was given up."""
        table = self.to_pandas()
        means = table.pivot_table(index="candidate", columns=["split", "metric"], values="value", sort=False)
        failed = "".join(f"<p>{escape(str(run))}</p>" for run in self.failed)
        return means.to_html(float_format="{:.3f}".format) + failed


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
