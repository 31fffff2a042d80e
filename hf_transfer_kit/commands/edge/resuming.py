"""`--resume_from_checkpoint`: where hf-transfer finetune goes on, and what it says of that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from hf_transfer_kit.tuning import check_checkpoint, last_whole_checkpoint
from hf_transfer_kit.tuning.checkpoints import existing_checkpoint


def check_named(asked: object) -> None:
    """Refuses a checkpoint to go on from that is not there, before anything is loaded.

    Raises:
        SettingsError: When it is no folder.
    """
    if str(asked).lower() not in ("none", "false", "true"):
        existing_checkpoint(str(asked))


def resume_point(args: TrainingArguments, facts: Mapping[str, Any], *, of_known_length: bool = True) -> str | None:
    """The checkpoint to go on from; None where training begins anew.

    Args:
        args: ``resume_from_checkpoint`` is true (the newest whole one in ``output_dir``), false, or a folder.
        facts: What the run is; a checkpoint of another run is refused.
        of_known_length: Whether a run's steps are known before it ends.

    Raises:
        SettingsError: When the checkpoint named is not whole, or those found are of another run.
    """
    asked = str(args.resume_from_checkpoint)
    if asked.lower() in ("none", "false"):
        return None
    if asked.lower() == "true":
        found = last_whole_checkpoint(args.output_dir, facts=facts, tell=print if args.should_save else None)
    else:
        found = check_checkpoint(asked, facts=facts)
    if found is not None and args.should_save:
        written = json.loads((Path(found) / "trainer_state.json").read_text())["max_steps"]
        print(f"Training goes on from {Path(found).name}.")
        if of_known_length and written != args.max_steps:
            print(
                f"{Path(found).name} was written by a run of {written} steps, and this one has {args.max_steps}: rates "
                "follow the new number from here on, so it ends as no run that never stopped."
            )
    return found
