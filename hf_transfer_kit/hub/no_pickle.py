"""Pushing by ``Trainer.push_to_hub`` without the pickles that it would upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# training_args.bin, optimizer.pt, scheduler.pt, rng_state.pth, scaler.pt, and weights that are no safetensors
PATTERNS = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")


class NoPickleUploads(TrainerCallback):
    """Keeps pickles out of what ``Trainer.push_to_hub``, and a Trainer with ``push_to_hub=True``, upload.

    Pass it in ``Trainer(callbacks=[...])``. Trainer saves its arguments as ``training_args.bin`` and uploads the whole
    output folder. Before every push this adds a ``.gitignore`` to the folder, whose rules the Hub applies to files that
    huggingface_hub sends; files that the repository has already stay there. Loading the model needs none of them. With
    ``hub_strategy="checkpoint"`` a run cannot be resumed from the Hub then: optimizer states are pickles.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[NoPickleUploads()])
    """

    def on_push_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        path = Path(cast(str, args.output_dir)) / ".gitignore"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        missing = [pattern for pattern in PATTERNS if pattern not in lines]
        if missing:
            path.write_text("\n".join([*lines, *missing]) + "\n")
