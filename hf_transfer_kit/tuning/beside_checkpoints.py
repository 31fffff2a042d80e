"""Files that a callback keeps beside Trainer's in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from transformers import TrainerState, TrainingArguments

from hf_transfer_kit.errors import SettingsError


def to_write(args: TrainingArguments, state: TrainerState, name: str) -> Path:
    """Where a file of the checkpoint that is being written belongs."""
    folder = Path(cast(str, args.output_dir)) / f"checkpoint-{state.global_step}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def to_read(args: TrainingArguments, state: TrainerState, name: str, callback: str) -> Path:
    """The file of the checkpoint that training goes on from.

    Raises:
        SettingsError: When it is not there.
    """
    folders = [Path(cast(str, args.output_dir)) / f"checkpoint-{state.global_step}"]
    if isinstance(args.resume_from_checkpoint, str):
        folders.insert(0, Path(args.resume_from_checkpoint))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    places = " or ".join(map(str, folders))
    raise SettingsError(
        f"{callback} resumes at step {state.global_step}, and no {name} lies in {places}. Use the callback from the "
        "first step on, and resume from a checkpoint in output_dir (or name its folder in "
        "TrainingArguments(resume_from_checkpoint=...))."
    )
