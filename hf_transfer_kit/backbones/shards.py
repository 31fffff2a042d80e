"""Networks that FSDP2's ``fully_shard`` has laid out: every process has a part of each parameter, a DTensor."""

from __future__ import annotations

import sys
from typing import Any, cast

from torch import Tensor, nn


def shard_again(model: nn.Module) -> None:
    """Puts shards where a forward outside of training left whole parameters.

    A backward shards everything again; without one, outermost parameters stay whole until the next. What looks for
    parameters then would find tensors that neither the optimizer nor a later forward knows.
    """
    for module in _sharding(model):
        module.reshard()


def has_shards(model: nn.Module) -> bool:
    """Whether a process has parts of parameters only."""
    return bool(_sharding(model)) or any(is_shard(parameter) for parameter in model.parameters())


def sharded_apart(model: nn.Module, part: nn.Module) -> bool:
    """Whether a part's parameters are gathered apart from the outermost ones, so not whole all through a forward.

    Args:
        model: What is called.
        part: A module in it.
    """
    return any(part is below for module in groups_below(model) for below in module.modules())


def groups_below(model: nn.Module) -> list[nn.Module]:
    """The modules below ``model`` itself that gather their parameters by themselves."""
    return [module for module in _sharding(model) if module is not model]


def is_shard(tensor: Tensor) -> bool:
    """Whether it is a DTensor, of which a process has a part."""
    return hasattr(tensor, "placements")


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, sharing its memory; others as they are."""
    return cast(Any, tensor).to_local() if is_shard(tensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor, for which every process must ask; others as they are."""
    return cast(Any, tensor).full_tensor() if is_shard(tensor) else tensor


def layout(tensor: Tensor) -> tuple[Any, ...]:
    """What two tensors have in common that are cut alike over the same processes; empty for whole ones."""
    return (cast(Any, tensor).device_mesh, cast(Any, tensor).placements) if is_shard(tensor) else ()


def _sharding(model: nn.Module) -> list[Any]:
    """Modules that gather their parameters before a forward; whoever sharded them has imported their class."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None or not isinstance(model, fsdp.FSDPModule):
        return []
    return [module for module in model.modules() if isinstance(module, fsdp.FSDPModule)]
