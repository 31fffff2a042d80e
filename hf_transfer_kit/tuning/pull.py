"""What pulls weights back: parameters that share a strength, with their anchors, ready for one pass a step.

On sharded parameters (FSDP2's ``fully_shard``) every operation is local to the shard; only values are summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hf_transfer_kit.tuning.lora_delta import LoRAPair, delta_gradients, delta_squared
from hf_transfer_kit.tuning.penalties import NORMS, deltas, squared_distance

# Differences are made for so many elements at once: on a CPU they then stay in its cache, elsewhere memory is bounded.
_AT_ONCE = {"cpu": 1 << 18}
_AT_ONCE_ELSEWHERE = 1 << 25

ParameterGroups = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Pull:
    """Parameters of one optimizer group held with one strength.

    Args:
        parameters: As the optimizer has them.
        anchors: w0 for each, placed and sharded alike; None pulls towards zero.
        strength: alpha or beta, >= 0.
        group: Index of their group in the optimizer.
        norm: Name in ``NORMS``.
        importances: Fisher weights for each, or None.
    """

    parameters: list[nn.Parameter]
    anchors: list[Tensor] | None
    strength: float
    group: int
    norm: str = "l2"
    importances: list[Tensor] | None = None

    def add_gradients(self, scale: float = 1.0) -> None:
        """Adds scale * strength * gradient of the norm to the gradients; a parameter without one is left out."""
        for live, weights, anchors, importances in self._chunks():
            gradients = NORMS[self.norm].gradients(deltas(weights, anchors), importances)
            torch._foreach_add_([local(p.grad) for p in live], gradients, alpha=scale * self.strength)

    def step_back(self, groups: ParameterGroups) -> None:
        """The decoupled step, w <- w - lr strength gradient, with the group's current learning rate."""
        amount = float(groups[self.group]["lr"]) * self.strength
        for _, weights, anchors, importances in self._chunks():
            torch._foreach_add_(weights, NORMS[self.norm].decoupled(deltas(weights, anchors), amount, importances))

    def value(self) -> Tensor:
        """strength * norm of the distance, over all processes that share the parameters."""
        weights = [local(parameter.detach()) for parameter in self.parameters]
        value = NORMS[self.norm].value(deltas(weights, self.anchors), self.importances)
        return self.strength * over_shards(value, self.parameters)

    def _chunks(self) -> Iterator[tuple[list[nn.Parameter], list[Tensor], list[Tensor] | None, list[Tensor] | None]]:
        """Parameters that have a gradient, a bounded number of elements at a time, with their part of the rest."""
        start, elements = 0, 0
        limit = _AT_ONCE.get(self.parameters[0].device.type, _AT_ONCE_ELSEWHERE) if self.parameters else 0
        for stop, parameter in enumerate(self.parameters, start=1):
            elements += parameter.numel()
            if elements >= limit or stop == len(self.parameters):
                live = [i for i in range(start, stop) if self.parameters[i].grad is not None]
                if live:
                    parameters = [self.parameters[i] for i in live]
                    yield (
                        parameters,
                        [local(p.detach()) for p in parameters],
                        None if self.anchors is None else [self.anchors[i] for i in live],
                        None if self.importances is None else [self.importances[i] for i in live],
                    )
                start, elements = stop, 0


@dataclass(frozen=True, eq=False)
class LoRAPull:
    """A LoRA pair held so that s B A stays small: strength / 2 |s B A|_F^2, and no w0 is needed."""

    pair: LoRAPair
    strength: float
    groups: tuple[int, int]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """A and B."""
        return [self.pair.a, self.pair.b]

    def add_gradients(self, scale: float = 1.0) -> None:
        """As ``Pull.add_gradients``."""
        for parameter, gradient in zip(self.parameters, self._gradients(), strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(gradient, alpha=scale * self.strength)

    def step_back(self, groups: ParameterGroups) -> None:
        """As ``Pull.step_back``; A and B move by the gradients at the same point."""
        for parameter, gradient, group in zip(self.parameters, self._gradients(), self.groups, strict=True):
            if parameter.grad is not None:
                parameter.detach().sub_(gradient, alpha=float(groups[group]["lr"]) * self.strength)

    def value(self) -> Tensor:
        """strength / 2 |s B A|_F^2."""
        return self.strength / 2 * delta_squared(self.pair.a.detach(), self.pair.b.detach(), self.pair.scaling)

    def _gradients(self) -> tuple[Tensor, Tensor]:
        return delta_gradients(self.pair.a.detach(), self.pair.b.detach(), self.pair.scaling)


def preload_gradients(pulls: Sequence[Pull | LoRAPull], scale: float = 1.0) -> None:
    """Puts the penalty's gradient where there is none yet, so that the data's gradient is added to it by backward."""
    for pull in pulls:
        for parameter in pull.parameters:
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        pull.add_gradients(scale)


def distance_squared(parameters: Sequence[nn.Parameter], anchors: Sequence[Tensor]) -> Tensor:
    """|w - w0|^2 over all processes that share the parameters."""
    weights = [local(parameter.detach()) for parameter in parameters]
    return over_shards(squared_distance(deltas(weights, anchors)), parameters)


def placed_like(tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    """``tensor`` on the device and in the precision of ``parameter``; of a sharded one, this process's part."""
    tensor = tensor.to(parameter.device, parameter.dtype)
    if not hasattr(parameter, "placements") or hasattr(tensor, "placements"):
        return local(tensor)
    from torch.distributed.tensor import distribute_tensor

    # Every process has the whole tensor: each cuts out its own part, nothing is sent.
    return local(distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None))


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, sharing its memory; others as they are."""
    return tensor.to_local() if hasattr(tensor, "placements") else tensor


def over_shards(value: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Sum of a local value over the processes that hold other shards of the parameters."""
    sharded = next((p for p in parameters if hasattr(p, "placements")), None)
    if sharded is None:
        return value
    from torch.distributed.tensor import DTensor, Partial, Replicate

    kinds = [Partial() if placement.is_shard() else Replicate() for placement in sharded.placements]
    return DTensor.from_local(value, sharded.device_mesh, kinds, run_check=False).full_tensor()
