"""Resuming networks whose checkpoints transformers writes under other names than the model's own.

``save_pretrained`` gives the weights of some architectures (ViT) the names of older releases; Trainer resumes by plain
``load_state_dict(strict=False)`` and leaves what it does not find as it was, so that training would go on from
pretrained weights with a half-trained optimizer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.shards import has_shards
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback


class RestoreWeights(NetworkCallback):
    """When training is resumed, loads the weights by their converted names where the checkpoint has others.

    Pass it first in ``Trainer(callbacks=[...])``. Without a resume, and for checkpoints under the model's own names, it
    does nothing.

    Args:
        checkpoint: What ``trainer.train(resume_from_checkpoint=...)`` gets: a folder, or True for the last one in
            ``args.output_dir``; None does nothing.

    Raises:
        SettingsError: When training starts, if weights are missing from the checkpoint under every name.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[RestoreWeights(None)])
        >>> _ = trainer.train(resume_from_checkpoint=None)  # the same as given to the callback
    """

    reaches_parameters = True

    @checked_arguments(own_words_first=True)
    def __init__(self, checkpoint: str | Path | bool | None) -> None:
        self.checkpoint = checkpoint

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if not self.checkpoint or not state.global_step or not isinstance(model, PreTrainedModel):
            return
        if has_shards(model):
            return  # accelerate has them in files of its own, under the model's names
        folder = Path(get_last_checkpoint(args.output_dir) if self.checkpoint is True else self.checkpoint)
        saved = _names(folder)
        own = model.state_dict()
        if saved <= own.keys():
            return
        network, info = cast(Any, type(model)).from_pretrained(folder, dtype=model.dtype, output_loading_info=True)
        if info["missing_keys"]:
            raise SettingsError(
                f"The checkpoint {folder.name} lacks weights of {type(model).__name__} ("
                f"{', '.join(sorted(info['missing_keys'])[:3])}), so training cannot go on from it; choose another one."
            )
        # What hangs on the model for training only has the model's own names, and Trainer has loaded it.
        model.load_state_dict(network.state_dict(), strict=False)


def _names(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names.update(file.keys())
    return names
