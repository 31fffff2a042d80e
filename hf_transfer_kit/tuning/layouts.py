"""How a Trainer lays parameters out over processes, and which parts can be used there: asked before training starts.

What is asked is the state of its accelerator: an accelerate config stands in no argument, and on a CPU accelerate
takes ``fsdp`` for DistributedDataParallel.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn
from transformers import Trainer

from hf_transfer_kit.backbones.shards import has_shards
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.calling import calling_trainer

WHOLE = "whole"
SHARDS = "FSDP2"
_OUT_OF_REACH = {
    "DeepSpeed": "DeepSpeed keeps them, and what is trained of them, in buffers of its own",
    "Megatron-LM": "Megatron-LM makes layers of its own",
    "FSDP1": "FSDP of version 1 flattens them into others",
    "FSDP on XLA": "FSDP on XLA flattens them into others",
}


def layout_of(model: nn.Module | None, trainer: Trainer | None) -> str:
    """``"whole"``, ``"FSDP2"``, or one of those that put parameters out of reach.

    Args:
        model: The network, before or after it was laid out; None where there is none yet.
        trainer: Whose accelerator lays it out; None for a loop of one's own.
    """
    if trainer is not None:
        state: Any = trainer.accelerator.state
        kind = state.distributed_type.value
        if kind == "FSDP":
            return SHARDS if getattr(state.fsdp_plugin, "fsdp_version", 1) == 2 else "FSDP1"
        if kind in ("DEEPSPEED", "MEGATRON_LM"):
            return {"DEEPSPEED": "DeepSpeed", "MEGATRON_LM": "Megatron-LM"}[kind]
        if trainer.is_fsdp_xla_enabled:
            return "FSDP on XLA"
    return SHARDS if model is not None and has_shards(model) else WHOLE


def check_layout(
    owner: str,
    model: nn.Module | None,
    trainer: Trainer | None = None,
    *,
    instead: str | None = None,
    also_with: Collection[str] = (),
) -> None:
    """Refuses a part that reaches parameters where it cannot.

    Args:
        owner: Subject of the sentence.
        model: As in ``layout_of``.
        trainer: As in ``layout_of``; None for that whose event is being handled.
        instead: What to do under FSDP2, a sentence; None for parts that work there.
        also_with: Layouts out of reach that the part has done with before they begin.

    Raises:
        SettingsError: Naming what will do.
    """
    found = layout_of(model, trainer or calling_trainer())
    if found in _OUT_OF_REACH and found not in also_with:
        or_shards = "" if instead else " or FSDP2 (fsdp_version: 2 of accelerate, fsdp_config={'version': 2})"
        raise SettingsError(
            f"{owner} reaches the model's parameters or their gradients, and {_OUT_OF_REACH[found]}. Use "
            f"DistributedDataParallel{or_shards}."
        )
    if found == SHARDS and instead:
        raise SettingsError(
            f"{owner} reads or writes parameters, which are DTensors under FSDP2 with only a shard on each process. "
            f"Use it in one process or with DistributedDataParallel. {instead}"
        )


def check_not_compiled(owner: str) -> None:
    """Refuses a part whose hooks and parameters would be those of another object: FSDP2 shards what was compiled.

    Raises:
        SettingsError: Naming the setting.
    """
    trainer = calling_trainer()
    if trainer is None or layout_of(None, trainer) != SHARDS:
        return
    if trainer.accelerator.state.dynamo_plugin.backend.value != "NO":
        raise SettingsError(
            f"{owner} reaches into the model, and FSDP2 with torch_compile=True makes another one of it when training "
            "starts. Set torch_compile=False, or use DistributedDataParallel."
        )


def check_read_everywhere(owner: str) -> None:
    """Refuses to copy weights, when the Trainer is made, that only one process of a machine has read by then.

    Raises:
        SettingsError: Naming the setting.
    """
    trainer = calling_trainer()
    plugin = None if trainer is None else getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if getattr(plugin, "cpu_ram_efficient_loading", False):
        raise SettingsError(
            f"{owner} copies the pretrained weights when the Trainer is made, and with cpu_ram_efficient_loading the "
            "first process of a machine alone has read them by then. Set fsdp_config={'cpu_ram_efficient_loading': "
            "False} (fsdp_cpu_ram_efficient_loading: false in accelerate's config)."
        )
