"""How runs go: Trainer's arguments with the kit's defaults, which runs are kept, and who does them."""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from transformers import TrainingArguments

from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.edge.named_commands import recipe_name
from hf_transfer_kit.commands.edge.settings import kept_in, plugins
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import (
    Budget,
    Executor,
    ProcessWorkers,
    RayWorkers,
    default_steps,
)
from hf_transfer_kit.selection.contest.budget import USUAL_STEPS
from hf_transfer_kit.selection.contest.run_settings import rows_of_each_device
from hf_transfer_kit.selection.contest.store import FOLDER, RunStore

DEFAULT_BATCH_SIZE = 32
EVALUATIONS = 5
"""Looks of a run at its validation split."""
PATIENCE, MINUTES, LOOKS = 3, 3.0, 20
"""Of a run that goes on until its score has flattened."""
_BY_FIGURES = ("reduce_lr_on_plateau", "greedy")


def one_seed() -> int:
    """The field of the seed of what runs once, which bears the name that others have for theirs, too."""
    return field(default=42, metadata={"help": "Of weights, order and dropout.", "aliases": ["--seeds"]})


@dataclass
class KitTrainingArguments(TrainingArguments):
    """All of TrainingArguments, with the defaults that short comparisons on small data want."""

    output_dir: str | None = field(default=None, metadata={"help": "Folder for report, card, model and settings."})
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Replace a report that is there, and others' files under names that are written."},
    )
    learning_rate: float | None = field(default=None, metadata={"help": "Default: one that suits the strategy."})
    num_train_epochs: float | None = field(
        default=None, metadata={"help": "Default: 8, for texts 3, within 50 to 300 steps."}
    )
    batch_size: int | None = field(
        default=None,
        metadata={"help": "Rows a step, over all processes and accumulated batches; default: 32."},
    )
    per_device_train_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Rows of each device at once, instead of --batch_size: a step has so many for each process and "
            "accumulated batch."
        },
    )
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Rows a batch in evaluation."})
    report_to: str | None = field(default="none", metadata={"help": "Trackers, such as tensorboard."})
    disable_tqdm: bool | None = field(default=True, metadata={"help": "No progress bars of Trainer's own."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The kit's data has no unused columns."})
    evaluations: int | None = field(
        default=None, metadata={"help": f"How often a run looks at the validation split. Default: {EVALUATIONS}."}
    )
    license: str | None = field(
        default=None,
        metadata={"help": "Of the new model, for its card, such as apache-2.0; default: the base model's."},
    )
    language: list[str] = field(default_factory=list, metadata={"help": "Of the data, for the card, such as en de."})

    @property
    def card(self) -> dict[str, object]:
        """What ``save_results`` writes into the card for the user, and whether it may replace files of others."""
        return {"license": self.license, "language": self.language, "overwrite": self.overwrite_output_dir}

    def __post_init__(self) -> None:
        self.output_dir = self.output_dir or f"outputs/{recipe_name()}"
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.cuda.is_available()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available():
            self.use_cpu = True  # else transformers takes each process for one that is alone
        on_each = self.per_device_train_batch_size
        if None not in (on_each, self.batch_size):
            raise SettingsError(
                f"--batch_size {self.batch_size} and --per_device_train_batch_size {on_each} both say how many rows a "
                "step has. Leave one out."
            )
        self.per_device_train_batch_size = on_each or DEFAULT_BATCH_SIZE
        super().__post_init__()
        if on_each:
            self.batch_size = self.train_batch_size * self.gradient_accumulation_steps * self.world_size
        else:
            self.batch_size = self.batch_size or DEFAULT_BATCH_SIZE
            self.per_device_train_batch_size = rows_of_each_device(self, self.batch_size)

    def budget(self, rows: int, modality: str) -> Budget:
        """What a run may spend on ``rows`` training rows: ``max_steps``, else ``num_train_epochs``, else a default.

        Raises:
            SettingsError: When the warm-up would not end before the run, or a flag is for texts alone.
        """
        for flag, asked in (
            ("neftune_noise_alpha", self.neftune_noise_alpha),
            ("train_sampling_strategy group_by_length", self.train_sampling_strategy == "group_by_length"),
        ):
            if asked and modality != "text":
                raise SettingsError(f"--{flag} is for texts, and the data holds {modality}. Leave it out.")
        batch_size, steps = cast(int, self.batch_size), self.max_steps
        if steps <= 0:
            epochs = self.num_train_epochs
            steps = math.ceil(epochs * rows / batch_size) if epochs else self.usual_steps(rows, modality)
        if self.warmup_steps >= max(steps, 1):
            raise SettingsError(
                f"--warmup_steps {self.warmup_steps:g} would not end within the run's {steps} steps. Give fewer, or a "
                "share of the steps such as 0.1."
            )
        looks = EVALUATIONS if self.evaluations is None else self.evaluations
        return Budget(steps, batch_size, evaluations=looks, learning_rate=self.learning_rate)

    def usual_steps(self, rows: int, modality: str) -> int:
        """Steps where the user says nothing of them."""
        return default_steps(rows, cast(int, self.batch_size), modality)


@dataclass
class OneSeedArguments(KitTrainingArguments):
    """The same for what is done once, from one seed."""

    seed: int = one_seed()


@dataclass
class OpenRuns(KitTrainingArguments):
    """The same, each run going on until its score has flattened where its steps are not named and would be many."""

    num_train_epochs: float | None = field(
        default=None,
        metadata={
            "help": f"Default: 8, for texts 3, at least 50 steps; where they are more than {USUAL_STEPS} steps, until "
            "the score has flattened, if that is before. With --patience at most so many, like --max_steps."
        },
    )
    patience: int | None = field(
        default=None,
        metadata={
            "help": "Looks in a row (--evaluations) that bring nothing better, after which a run's rate falls to zero "
            f"and it ends. Default: {PATIENCE} for runs of more than {USUAL_STEPS} steps; with --max_steps or "
            "--num_train_epochs every run does all its steps."
        },
    )
    max_minutes: float | None = field(
        default=None,
        metadata={
            "help": f"Minutes of a run, after which it ends. Default: {MINUTES:g} for runs of more than {USUAL_STEPS} "
            "steps; with --max_steps or --num_train_epochs no limit."
        },
    )
    evaluations: int | None = field(
        default=None,
        metadata={
            "help": "How often a run looks at the validation split. Default: 5, and 20 where it ends by its score."
        },
    )

    def budget(self, rows: int, modality: str) -> Budget:
        """What a run may spend; until its score has flattened, where its steps are not named and would be many.

        Raises:
            SettingsError: Also when the rate is lowered by a schedule of another kind.
        """
        found = super().budget(rows, modality)
        opens = not self.names_steps and self.opens(found.max_steps)
        budget = replace(
            found,
            patience=self.patience or (PATIENCE if opens else None),
            max_minutes=self.max_minutes or (MINUTES if opens else None),
        )
        if self.evaluations is None and budget.patience:
            budget = replace(budget, evaluations=LOOKS)
        if budget.is_open and self.lr_scheduler_type in _BY_FIGURES:
            raise SettingsError(
                f"--lr_scheduler_type {self.lr_scheduler_type.value} lowers the rate by figures of its own, and a run "
                "that ends by its score or its minutes does so, too. Leave it out, or give --max_steps alone."
            )
        return budget

    @property
    def names_steps(self) -> bool:
        """Whether the user says how long runs are."""
        return self.max_steps > 0 or self.num_train_epochs is not None

    def opens(self, steps: int) -> bool:
        """Whether runs of so many steps, which the user has not named, end by their score."""
        return steps > USUAL_STEPS

    def usual_steps(self, rows: int, modality: str) -> int:
        return default_steps(rows, cast(int, self.batch_size), modality, most=None)


@dataclass
class OneRunArguments(OpenRuns):
    """The same for one run."""

    seed: int = one_seed()


@dataclass
class KeptRunsArguments(KitTrainingArguments):
    """The same for several runs, those that end being kept."""

    keep_runs: bool = field(
        default=True,
        metadata={
            "help": "Comparisons keep each run that ends, so that the same command, after a kill, or with more "
            "candidates or seeds, goes on with what is missing."
        },
    )
    store: str | None = field(
        default=None, metadata={"help": "Folder of the finished runs; default: runs in --output_dir."}
    )

    def run_store(self, **facts: object) -> RunStore | None:
        """Where a comparison's finished runs are kept; ``facts`` beside these arguments decide what they gave."""
        if not self.keep_runs:
            if self.store is not None:
                raise SettingsError("--store names a folder of runs, and --keep_runs false keeps none: leave one out.")
            return None
        tell = print if self.should_save else None
        folder = self.store or Path(self.output_dir) / FOLDER
        store = RunStore(folder, facts={**facts, "plugins": plugins()}, tell=tell)
        kept_in(store)
        return store


@dataclass
class FewRunsArguments(KeptRunsArguments):
    """The same, from one seed."""

    seed: int = one_seed()


@dataclass
class ComparisonArguments(KeptRunsArguments):
    """The same, several at once."""

    workers: int = field(
        default=1,
        metadata={
            "help": "Runs at once, each in a process of its own with its share of the threads, and of several GPUs "
            "one. Every run gives what it gives alone."
        },
    )
    executor: str = field(
        default="processes",
        metadata={
            "help": "Who does the runs: processes (of this machine) or ray (machines of a Ray cluster, or --workers "
            "tasks on this one; needs the extra ray)."
        },
    )
    ray_address: str | None = field(
        default=None,
        metadata={"help": "Of a Ray cluster that runs, such as auto; --output_dir and data must be on shared paths."},
    )

    def __post_init__(self) -> None:
        check_choice("--executor", self.executor, ("processes", "ray"))
        if self.ray_address is not None and self.executor != "ray":
            raise SettingsError(f"--ray_address {self.ray_address} names a Ray cluster: give --executor ray with it.")
        super().__post_init__()

    def run_executor(self) -> AbstractContextManager[Executor | None]:
        """Who does the runs of a comparison, for a ``with`` block; None is this process, one after the other."""
        if self.executor == "ray":
            return RayWorkers(self.workers, tell=print, address=self.ray_address)
        if self.workers == 1:
            return nullcontext()
        return ProcessWorkers(self.workers, tell=print)


@dataclass
class RaceTrainingArguments(OpenRuns, ComparisonArguments):
    """The same for a race."""


@dataclass
class OpenRunsArguments(RaceTrainingArguments):
    """The same, runs going on until their score has flattened wherever their steps are not named."""

    num_train_epochs: float | None = field(
        default=None,
        metadata={
            "help": "Passes over the larger domain. Default: until the score has flattened, at most 8, for texts 3, or "
            "100 steps if that is more. With --patience at most so many, like --max_steps."
        },
    )
    patience: int | None = field(
        default=None,
        metadata={
            "help": "Looks in a row (--evaluations) that bring nothing better, after which a run's rate falls to zero "
            f"and it ends. Default: {PATIENCE}; with --max_steps or --num_train_epochs every run does all its steps."
        },
    )
    max_minutes: float | None = field(
        default=None,
        metadata={
            "help": f"Minutes of a run, after which it ends. Default: {MINUTES:g}; with --max_steps or "
            "--num_train_epochs no limit."
        },
    )

    def opens(self, steps: int) -> bool:
        return True

    def usual_steps(self, rows: int, modality: str) -> int:
        return default_steps(rows, cast(int, self.batch_size), modality, least=100, most=None)
