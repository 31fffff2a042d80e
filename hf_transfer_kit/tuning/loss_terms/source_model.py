"""The source network: the pretrained weights, frozen, beside the model that learns; also after a resume."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import TrainerState

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import find_head
from hf_transfer_kit.backbones.adapters import added_by_peft, is_under
from hf_transfer_kit.backbones.shards import has_shards
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.tuning.conservative.anchor import fingerprint_of, stateful_callbacks, stored_attributes
from hf_transfer_kit.tuning.layouts import check_read_everywhere


class SourceModel:
    """A frozen network that training never touches, saves or hands to the optimizer.

    By default it is a copy of the model as the Trainer was made, before a checkpoint is loaded into it, so that a
    resumed run has the same source as the run it resumes. A fingerprint in the checkpoint guards that.

    Args:
        owner: Name of the callback, for messages.
        given: A network, or a Hub name or folder of one of the model's class; None copies the model.
        required: Whether a copy of the model will not do, because its head is new.
    """

    @checked_arguments(own_words_first=True)
    def __init__(self, owner: str, given: nn.Module | str | Path | None = None, *, required: bool = False) -> None:
        self.required = required
        self.owner = owner
        self.given = given
        self.fingerprint: str | None = None
        self._network: nn.Module | None = None
        self._taken_for: int | None = None

    def take(self, model: nn.Module) -> None:
        """Copies or loads the source for ``model``; once, so that a second Trainer for it keeps the first source."""
        if self._network is not None and self._taken_for == id(model):
            return
        if self.given is None and self.required:
            raise SettingsError(
                f"{self.owner} needs source=, the pretrained network with its trained head (a network, a name or a "
                "folder): the model's own head is new. On resume leave restore_callback_states_from_checkpoint=False."
            )
        check_read_everywhere(self.owner)
        copied = model if self.given is None else self.given
        if isinstance(copied, nn.Module) and has_shards(copied):
            raise SettingsError(
                f"{self.owner} copies the pretrained network when the Trainer is made, and it is sharded already, so "
                "that this process has a part of it only. Give the Trainer the whole model, which accelerate shards "
                "when training starts, and a source that is not sharded."
            )
        if isinstance(self.given, nn.Module):
            network = copy.deepcopy(self.given)
        elif self.given is not None:
            network = load_source(model, self.given)
        else:
            network = copy.deepcopy(model)
        self._network = network.eval().requires_grad_(False)
        self._taken_for = id(model)
        self.fingerprint = fingerprint(network, with_head=self.given is not None)

    def network_of(self, model: nn.Module) -> nn.Module:
        """The source taken for ``model``, on whatever device it is."""
        self.take(model)
        return cast(nn.Module, self._network)

    def network(self, model: nn.Module, state: TrainerState) -> nn.Module:
        """The source on the model's device, when training begins.

        Raises:
            SettingsError: When the checkpoint that is resumed had another source, or the source was not taken before
                the checkpoint was loaded.
        """
        resumed = state.global_step > 0
        if self._network is None or self._taken_for != id(model):
            if resumed and self.given is None:
                raise SettingsError(
                    f"{self.owner} has not seen the pretrained weights before the checkpoint was loaded, and will not "
                    f"hold the model to half-trained ones. Pass {self.owner}(...) in Trainer(callbacks=[...]), leave "
                    "restore_callback_states_from_checkpoint=False (the checkpoint is checked without it), or name "
                    "the pretrained model with source=."
                )
            self.take(model)
        saved = saved_attributes(state, self.owner)
        if resumed and saved and self.fingerprint not in [entry.get("source_fingerprint") for entry in saved]:
            raise SettingsError(
                f"{self.owner}: the checkpoint at step {state.global_step} was trained with another source network "
                "than the one given now. Build the model from the same pretrained weights as in the first run before "
                "resuming, or name them with source=."
            )
        parameter = next(model.parameters())
        return cast(nn.Module, self._network).to(parameter.device)


def saved_attributes(state: TrainerState, owner: str) -> list[dict]:
    """What callbacks of this name left in the checkpoint's state, which then is ready to hold them again."""
    stateful_callbacks(state).setdefault(owner, {})
    return stored_attributes(state, owner)


def load_source(model: nn.Module, name_or_path: str | Path) -> nn.Module:
    """Loads a pretrained network of the same class as ``model``, with the head it was saved with.

    Raises:
        ModelError: When it cannot be loaded, or weights are missing from it.
    """
    inner, _ = plain_model(model)
    if not hasattr(type(inner), "from_pretrained"):
        raise ModelError(
            f"source={str(name_or_path)!r}: a {type(inner).__name__} is not loaded by name. Give the network itself."
        )
    try:
        network, info = cast(Any, type(inner)).from_pretrained(
            str(name_or_path), use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"source={str(name_or_path)!r} cannot be loaded as {type(inner).__name__}: {reason}"
        ) from error
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ModelError(
            f"source={str(name_or_path)!r} lacks weights of a {type(inner).__name__}, such as {missing}; they would be "
            "random. Give a checkpoint with a trained head."
        )
    return network


def fingerprint(model: nn.Module, *, with_head: bool) -> str:
    """A hash of all weights and buffers, without those of peft's adapters and, if not asked for, of the head.

    Without the head, since a fresh one differs from run to run and no source of features depends on it.
    """
    left_out = added_by_peft(model) | (set() if with_head else set(find_head(model)))
    tensors = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, torch.Tensor) and not is_under(name, left_out)
    }
    return fingerprint_of(tensors)
