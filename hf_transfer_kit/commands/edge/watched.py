"""A comparison while it runs: a line a run on the console, what is left of it all, and a page that is kept current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from hf_transfer_kit.commands.edge.settings import command_line
from hf_transfer_kit.hub import KeepRaceReport, started_race
from hf_transfer_kit.reports import budget_facts
from hf_transfer_kit.selection import Budget, ProgressLine, RunClock


class Watched:
    """What every comparison shows of its runs.

    Args:
        recipe: Its name in reports.
        contenders: Texts of what is compared.
        model_args: The flags of the network.
        args: Those of the runs.
        title: Of the page.
        dataset_name: For people.
        data: As ``described_data`` gives it.
        budget: Of each run.
        seeds: One run of each contender a seed.
        runs: That are planned.
        line: Options of each ``ProgressLine``.
    """

    def __init__(
        self,
        recipe: str,
        contenders: Sequence[str],
        model_args: Any,
        args: Any,
        *,
        title: str,
        dataset_name: str,
        data: Mapping[str, Any],
        budget: Budget,
        seeds: Sequence[int],
        runs: int,
        **line: Any,
    ) -> None:
        started = started_race(
            recipe,
            contenders,
            title=title,
            model_name=model_args.display_name,
            dataset_name=dataset_name,
            data=data,
            budget=budget_facts(budget),
            seeds=seeds,
            command=command_line(),
        )
        self._report = KeepRaceReport(
            started, args.output_dir, base_model=model_args.base_model, overwrite=args.overwrite_output_dir
        )
        self._line = {"clock": RunClock(runs), **line}
        self._model_args = model_args

    def callbacks(self, *named: Any) -> list[TrainerCallback]:
        """Of one run, by the parts of its name, the seed last."""
        *parts, seed = named
        text = ", ".join(parts)
        return [
            ProgressLine(f"{text}, seed {seed}", **self._line),
            *self._report.callbacks(text, seed),
            *self._model_args.rounding(),
        ]

    def done(self, name: str, figures: Mapping[str, Any]) -> None:
        """A contender has ended."""
        self._report.done(name, figures)
