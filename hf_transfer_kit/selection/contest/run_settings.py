"""What every run of a comparison takes from the user's arguments, and what it sets itself."""

from __future__ import annotations

import copy
import math

from transformers import TrainingArguments

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.shared_batches import SharedBatches

LOG_ENTRIES = 40
"""About so many entries a run writes into Trainer's log."""


def rows_of_each_device(args: TrainingArguments, batch_size: int) -> int:
    """Rows of one forward on the device that has most of them, where a step of ``batch_size`` rows is dealt.

    Raises:
        SettingsError: When the rows cannot be dealt to the accumulated batches evenly, or not to all processes.
    """
    pieces, devices = args.gradient_accumulation_steps, args.world_size * max(1, args.n_gpu)
    if batch_size % pieces or batch_size // pieces < devices:
        raise SettingsError(
            f"{batch_size} rows a step cannot be dealt to {pieces} accumulated batches on {devices} devices: give a "
            f"multiple of {pieces}, at least {pieces * devices} (--batch_size)."
        )
    return math.ceil(batch_size // pieces / devices)


def shared_batches(args: TrainingArguments, batch_size: int) -> SharedBatches:
    """What deals the rows of a step to the accumulated batches and the processes."""
    return SharedBatches(batch_size // args.gradient_accumulation_steps)


def run_settings(
    args: TrainingArguments,
    *,
    name: str,
    max_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    eval_steps: int | None = None,
    own_columns: bool = True,
) -> TrainingArguments:
    """A copy of the user's arguments for one run: its steps, rate and seed, and nothing that Trainer keeps itself.

    Args:
        args: The user's.
        name: Of the candidate; trackers call the run ``name-seed``.
        max_steps: Optimizer steps, which alone decide when it ends.
        batch_size: Rows a step, over all processes and accumulated batches; ``shared_batches`` deals them.
        learning_rate: Its rate.
        seed: Of weights, order and dropout.
        eval_steps: Steps between two evaluations by Trainer, which then logs as often; None where something else looks
            at the run, or nothing does.
        own_columns: Whether rows hold what is read under names of their own, so that Trainer must not remove columns.
    """
    run_args = copy.copy(args)
    run_args.run_name = f"{name}-{seed}"
    run_args.max_steps = max_steps
    run_args.num_train_epochs = 0.0  # max_steps alone decides
    run_args.per_device_train_batch_size = rows_of_each_device(args, batch_size)
    run_args.learning_rate = learning_rate
    run_args.seed = run_args.data_seed = seed
    if own_columns:
        run_args.remove_unused_columns = False
    run_args.logging_strategy = "steps"
    run_args.logging_steps = eval_steps or max(1, max_steps // LOG_ENTRIES)
    run_args.logging_nan_inf_filter = False  # a loss that is not finite is to be seen
    run_args.eval_strategy = "no" if eval_steps is None else "steps"
    run_args.eval_steps = eval_steps
    run_args.save_strategy = "no"
    run_args.load_best_model_at_end = False
    run_args.push_to_hub = False
    return run_args
