"""Card and report of a comparison that is not over: which runs are done, which one is running, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.hub.command import without_local_paths
from hf_transfer_kit.hub.live_report import evaluations_of
from hf_transfer_kit.hub.unfinished import UNFINISHED, write_unfinished
from hf_transfer_kit.reports import RunFacts, TransferReport
from hf_transfer_kit.selection.contest.executors import in_worker


class KeepRaceReport:
    """Writes report.json, report.html and README.md of a comparison while it runs.

    Give ``callbacks`` to each of its runs, and call ``done`` with what each contender reached on rows that may choose:
    figures of the test split have no place here, so ``metrics`` stays empty, and such a folder is not pushed.
    ``save_results`` puts the finished files in their place. Only the first process writes.

    Args:
        report: What is known before; ``started_race`` makes one.
        output_dir: Of the comparison; made when the first run begins.
        base_model: Hub name of the pretrained network, for the card.
        overwrite: Whether files of others under these names are replaced.

    Example:
        >>> about = {"title": "a race", "model_name": "net", "dataset_name": "birds", "command": "python race.py"}
        >>> data = {"modality": "image", "classes": ["cat", "dog"], "sizes": {}, "skipped_rows": 0}
        >>> report = started_race("transfer", ["full", "head_only"], data=data, budget={"steps": 2}, seeds=[0], **about)
        >>> keeper = KeepRaceReport(report, "race")
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=keeper.callbacks("full", seed=0))
        >>> _ = trainer.train()
        >>> keeper.done("full", {"accuracy": 0.75})
    """

    @checked_arguments()
    def __init__(
        self,
        report: TransferReport,
        output_dir: str | Path,
        *,
        base_model: str | None = None,
        overwrite: bool = False,
    ) -> None:
        self.report = report
        self.output_dir = Path(output_dir)
        self.base_model = base_model
        self.overwrite = overwrite
        self.started = time.perf_counter()
        self._done: list[dict[str, Any]] = []
        self._running: dict[str, Any] = {"running": None, "step": 0, "max_steps": 0, "evaluations": []}

    def callbacks(self, name: str, seed: int | None = None) -> list[TrainerCallback]:
        """For the Trainer of one run: keeps the files current when it begins and whenever it is evaluated.

        A copy in a worker process writes nothing: it knows of no other run, and ``done`` is called here.
        """
        if in_worker():
            return []
        return [_Watch(self, name if seed is None else f"{name}, seed {seed}")]

    def done(self, name: str, figures: Mapping[str, float]) -> None:
        """Notes a contender whose runs have ended.

        Args:
            name: Its text.
            figures: Name -> value on validation rows, or a score without labels; never of the test split.
        """
        self._done.append({"name": name, "figures": dict(figures)})
        self._running = {"running": None, "step": 0, "max_steps": 0, "evaluations": []}
        self.write()

    def running(self, name: str, step: int, max_steps: int, evaluations: Sequence[Mapping[str, float]]) -> None:
        """Notes how far a run is."""
        entries = [dict(entry) for entry in evaluations]
        self._running = {"running": name, "step": step, "max_steps": max_steps, "evaluations": entries}
        self.write()

    def write(self) -> None:
        """Writes what is known now, in the first process."""
        if Ranks().rank == 0:
            write_unfinished(self.output_dir, self._report(), self.base_model, overwrite=self.overwrite)

    def _report(self) -> TransferReport:
        planned = self.report.data[UNFINISHED]["planned"]
        note = (
            f"This comparison is not over, or was interrupted: {len(self._done)} of {len(planned)} contenders are "
            "done. Its figures are not of the test split, which chooses nothing."
        )
        return replace(
            self.report,
            metrics={},
            command=without_local_paths(self.report.command),
            data={**self.report.data, UNFINISHED: {"planned": planned, "done": list(self._done), **self._running}},
            seconds={"total": time.perf_counter() - self.started},
            notes=(note, *self.report.notes),
        )


class _Watch(TrainerCallback):
    """Tells a ``KeepRaceReport`` how far one run is."""

    def __init__(self, kept: KeepRaceReport, name: str) -> None:
        self.kept = kept
        self.name = name

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._tell(state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._tell(state)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.eval_strategy == IntervalStrategy.NO:  # something else than Trainer looks at the run
            self._tell(state)

    def _tell(self, state: TrainerState) -> None:
        self.kept.running(self.name, state.global_step, state.max_steps, evaluations_of(state.log_history))


def started_race(
    recipe: str,
    planned: Sequence[str],
    *,
    title: str,
    model_name: str,
    dataset_name: str,
    data: Mapping[str, Any],
    budget: Mapping[str, Any],
    seeds: Sequence[int],
    command: str,
) -> TransferReport:
    """What is known of a comparison before it runs.

    Args:
        recipe: What is done, such as ``"transfer"``.
        planned: Texts of the contenders.
        title: For people.
        model_name: The pretrained network's name for people.
        dataset_name: Of the target.
        data: ``modality``, ``classes``, ``sizes``, ``skipped_rows`` and, where known, ``fingerprints``.
        budget: What each run may spend.
        seeds: Of the runs.
        command: The command that reproduces it.

    Example:
        >>> about = {"title": "a race", "model_name": "net", "dataset_name": "birds", "command": "python race.py"}
        >>> data = {"modality": "image", "classes": ["cat", "dog"], "sizes": {}, "skipped_rows": 0}
        >>> report = started_race("transfer", ["full", "head_only"], data=data, budget={"steps": 2}, seeds=[0], **about)
        >>> report.metrics, report.winner
        ({}, None)
    """
    return RunFacts(model_name, command, seeds[0]).report(
        recipe,
        title=title,
        dataset_name=dataset_name,
        plan=budget,
        data={**data, UNFINISHED: {"planned": list(planned)}},
        budget={**budget, "seeds": list(seeds)},
    )
