"""Card and report of a run that is not over: written at every evaluation, so that one that is interrupted has both."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.hub.command import without_local_paths
from hf_transfer_kit.hub.unfinished import UNFINISHED, write_unfinished
from hf_transfer_kit.reports import RunFacts, TransferReport
from hf_transfer_kit.reports.described import described_data

_TIMINGS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


class KeepReport(TrainerCallback):
    """Writes report.json, report.html and README.md into ``args.output_dir`` at every evaluation.

    Pass it in ``Trainer(callbacks=[...])``. They say that the run is not over, at which step it is, and what every
    evaluation gave; ``metrics`` stays empty, for the test split has not been looked at, so that such a folder is not
    pushed as a result. ``save_results`` puts the finished ones in their place. Only the first process writes.

    Args:
        report: What is known before training: title, plan, data, command, seed; ``started_report`` makes one.
        base_model: Hub name of the pretrained network, for the card.
        overwrite: Whether files of others under these names are replaced.

    Example:
        >>> args.eval_strategy, args.eval_steps = "steps", 1
        >>> trainer = Trainer(model, args, train_dataset=train, eval_dataset=test, callbacks=[KeepReport(report)])
        >>> _ = trainer.train()
    """

    @checked_arguments()
    def __init__(self, report: TransferReport, *, base_model: str | None = None, overwrite: bool = False) -> None:
        self.report = report
        self.base_model = base_model
        self.overwrite = overwrite
        self.started = time.perf_counter()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        evaluations = evaluations_of(state.log_history)
        report = replace(
            self.report,
            metrics={},
            command=without_local_paths(self.report.command),
            data={
                **self.report.data,
                UNFINISHED: {"step": state.global_step, "max_steps": state.max_steps, "evaluations": evaluations},
            },
            seconds={**self.report.seconds, "total": time.perf_counter() - self.started},
            notes=(
                f"This run is not over, or was interrupted: it is at step {state.global_step} of {state.max_steps}, "
                "its figures are of the validation split, and the test split was not looked at.",
                *self.report.notes,
            ),
        )
        write_unfinished(Path(cast(str, args.output_dir)), report, self.base_model, overwrite=self.overwrite)


def started_report(
    strategy: str,
    model: PreTrainedModel,
    facts: RunFacts,
    *,
    data: LoadedData,
    prepared: PreparedData,
    recipe: str = "finetune",
) -> TransferReport:
    """What is known of one run before it trains.

    Args:
        strategy: As typed.
        model: As it will be trained.
        facts: What is known of the run, its budget and rate among them.
        data: The splits as loaded.
        prepared: The splits as trained on.
        recipe: What is done.

    Example:
        >>> from hf_transfer_kit.reports import RunFacts
        >>> from hf_transfer_kit.selection import Budget
        >>> facts = RunFacts("net", "python finetune.py", budget=Budget(max_steps=2, batch_size=8), learning_rate=1e-3)
        >>> report = started_report("full", model, facts, data=loaded, prepared=prepare_data(loaded, processor))
        >>> report.recipe, report.metrics
        ('finetune', {})
    """
    return facts.report(
        recipe,
        title=f"{facts.model_name} on {data.name}",
        dataset_name=data.name,
        plan={"strategy": strategy, **facts.spent},
        layer_groups=layer_groups(model).rows(),
        data=described_data(data, prepared),
        winner=strategy,
        seeds=[facts.seed],
    )


def evaluations_of(log_history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Each evaluation's step and figures, in their order, without Trainer's timings."""
    return [
        {"step": entry["step"]}
        | {
            name.removeprefix("eval_"): value
            for name, value in entry.items()
            if name.startswith("eval_") and not name.endswith(_TIMINGS)
        }
        for entry in log_history
        if any(name.startswith("eval_") for name in entry)
    ]
