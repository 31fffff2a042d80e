"""Resuming in the midst of a schedule where FSDP2 keeps the optimizer's state by names.

torch asks the checkpoint for the state of every parameter that requires a gradient then, and what has not thawed yet
has none: made up of zeros it would count a step that was never done.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from hf_transfer_kit.features.ranks import Ranks

_WHOLE = "optimizer.bin"
_IN_PARTS = "optimizer_0"


def load_state_of_what_learned(trainer: Trainer) -> None:
    """Sees to it that a resumed Trainer, whose model is sharded, asks for no state of what has not been trained."""
    if not isinstance(vars(trainer).get("_load_optimizer_and_scheduler"), _Loading):
        vars(trainer)["_load_optimizer_and_scheduler"] = _Loading(trainer)


class _Loading:
    """``Trainer._load_optimizer_and_scheduler`` of one Trainer, with the untrained parameters frozen meanwhile."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._load: Callable[[Any], None] = trainer._load_optimizer_and_scheduler

    def __call__(self, checkpoint: str | None) -> None:
        learned = (
            None if checkpoint is None else Ranks().broadcast_from_main(lambda: names_with_state(Path(checkpoint)))
        )
        model: Any = self._trainer.model
        waiting = [
            parameter
            for name, parameter in model.named_parameters()
            if learned is not None and parameter.requires_grad and name not in learned
        ]
        try:
            for parameter in waiting:
                parameter.requires_grad_(False)
            self._load(checkpoint)
        finally:
            for parameter in waiting:
                parameter.requires_grad_(True)


def names_with_state(checkpoint: Path) -> set[str] | None:
    """Names of the parameters whose optimizer state a sharded run's checkpoint holds; None for one of another run."""
    if (checkpoint / _WHOLE).is_file():
        return set(torch.load(checkpoint / _WHOLE, weights_only=True, mmap=True)["state"])
    if (checkpoint / _IN_PARTS).is_dir():
        from torch.distributed.checkpoint import FileSystemReader

        kept = FileSystemReader(checkpoint / _IN_PARTS).read_metadata().state_dict_metadata
        start = "optimizer.state."
        return {key.removeprefix(start).rpartition(".")[0] for key in kept if key.startswith(start)}
    return None
