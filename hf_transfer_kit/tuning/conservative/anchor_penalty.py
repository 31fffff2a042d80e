"""What pulls weights back: parameters that share a strength, with their anchors, ready for one pass a step.

On sharded parameters (FSDP2's ``fully_shard``) every operation is local to the shard; only values are summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from hf_transfer_kit.backbones.shards import is_shard, layout, local
from hf_transfer_kit.compat import sharded_like
from hf_transfer_kit.tuning.conservative.lora_delta import LoRAPair
from hf_transfer_kit.tuning.conservative.penalties import NORMS, deltas, squared_distance

# Differences are made for so many elements at once. On a CPU they then stay in its cache, in memory that is used again:
# otherwise most of the time goes into the pages of new memory. Elsewhere it bounds the memory.
_AT_ONCE = {"cpu": 1 << 18}
_AT_ONCE_ELSEWHERE = 1 << 25

ParameterGroups = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class AnchorPenalty:
    """Parameters of one optimizer group held with one strength.

    Args:
        parameters: As the optimizer has them, of one layout.
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
    _kept: Tensor = field(default_factory=lambda: torch.empty(0), init=False, repr=False)

    def add_gradients(self, scale: float = 1.0) -> None:
        """Adds scale * strength * gradient of the norm to the gradients; a parameter without one is left out."""
        for present, weights, anchors, importances in self._chunks():
            gradients = NORMS[self.norm].gradients(self._deltas(weights, anchors), importances)
            torch._foreach_add_(present, [*gradients], alpha=scale * self.strength)

    def apply_decoupled(self, groups: ParameterGroups) -> None:
        """The decoupled step, w <- w - lr strength gradient, with the group's current learning rate."""
        amount = float(groups[self.group]["lr"]) * self.strength
        for _, weights, anchors, importances in self._chunks():
            steps, factor = NORMS[self.norm].decoupled(self._deltas(weights, anchors), amount, importances)
            torch._foreach_add_(weights, [*steps], alpha=factor)

    def value(self) -> Tensor:
        """strength * norm of the distance, over all processes that share the parameters."""
        weights = [local(parameter.detach()) for parameter in self.parameters]
        value = NORMS[self.norm].value(deltas(weights, self.anchors), self.importances)
        return self.strength * over_shards(value, self.parameters[0])

    def _chunks(self) -> Iterator[tuple[list[Tensor], list[Tensor], list[Tensor] | None, list[Tensor] | None]]:
        """Gradients, weights, anchors and importances, a bounded number of elements at a time.

        Parameters without a gradient are left out, large ones are cut along their first axis.
        """
        live = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        columns = [
            [local(cast(Tensor, self.parameters[i].grad)) for i in live],
            [local(self.parameters[i].detach()) for i in live],
            *([column[i] for i in live] for column in (self.anchors, self.importances) if column is not None),
        ]
        limit = _AT_ONCE.get(self.parameters[0].device.type, _AT_ONCE_ELSEWHERE)
        chunk: list[list[Tensor]] = [[] for _ in columns]
        elements = 0
        for tensors in zip(*columns, strict=True):
            for parts in zip(*(_cut(tensor, limit) for tensor in tensors), strict=True):
                if elements and elements + parts[0].numel() > limit:
                    yield self._named(chunk)
                    chunk, elements = [[] for _ in columns], 0
                for column, part in zip(chunk, parts, strict=True):
                    column.append(part)
                elements += parts[0].numel()
        if elements:
            yield self._named(chunk)

    def _deltas(self, weights: list[Tensor], anchors: list[Tensor] | None) -> Sequence[Tensor]:
        """w - w0 of a chunk; on a CPU in memory that the next chunk uses again."""
        if anchors is None or weights[0].device.type != "cpu" or not all(w.is_contiguous() for w in weights):
            return deltas(weights, anchors)
        sizes = [weight.numel() for weight in weights]
        if self._kept.numel() < sum(sizes):
            object.__setattr__(self, "_kept", weights[0].new_empty(sum(sizes)))
        places = self._kept[: sum(sizes)].split(sizes)
        return [
            torch.sub(weight, anchor, out=place.view(weight.shape))
            for weight, anchor, place in zip(weights, anchors, places, strict=True)
        ]

    def _named(self, columns: list[list[Tensor]]) -> tuple:
        gradients, weights, *rest = columns
        anchors = rest.pop(0) if self.anchors is not None else None
        return gradients, weights, anchors, rest[0] if rest else None


def _cut(tensor: Tensor, limit: int) -> Sequence[Tensor]:
    if tensor.numel() <= limit or tensor.ndim == 0:
        return (tensor,)
    return tensor.split(max(1, limit * len(tensor) // tensor.numel()))


@dataclass(frozen=True, eq=False)
class LoRAAnchorPenalty:
    """A LoRA pair held so that s B A stays small: strength / 2 |s B A|_F^2, and no w0 is needed."""

    pair: LoRAPair
    strength: float
    groups: tuple[int, int]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """A and B."""
        return [self.pair.a, self.pair.b]

    def add_gradients(self, scale: float = 1.0) -> None:
        """As ``AnchorPenalty.add_gradients``."""
        for parameter, gradient in zip(self.parameters, self.pair.gradients(), strict=True):
            if parameter.grad is not None:
                local(parameter.grad).add_(placed_like(gradient, parameter), alpha=scale * self.strength)

    def apply_decoupled(self, groups: ParameterGroups) -> None:
        """As ``AnchorPenalty.apply_decoupled``; A and B move by the gradients at the same point."""
        for parameter, gradient, group in zip(self.parameters, self.pair.gradients(), self.groups, strict=True):
            if parameter.grad is not None:
                rate = float(groups[group]["lr"])
                local(parameter.detach()).sub_(placed_like(gradient, parameter), alpha=rate * self.strength)

    def value(self) -> Tensor:
        """strength / 2 |s B A|_F^2."""
        return self.strength / 2 * self.pair.squared()


def learning_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the model's parameters that the optimizer holds, in the model's order."""
    learning = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return [name for name, parameter in model.named_parameters() if id(parameter) in learning]


def preload_gradients(penalties: Sequence[AnchorPenalty | LoRAAnchorPenalty], scale: float = 1.0) -> None:
    """Puts the penalty's gradient where there is none yet, so that the data's gradient is added to it by backward."""
    for penalty in penalties:
        for parameter in penalty.parameters:
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        penalty.add_gradients(scale)


def distance_squared(parameters: Sequence[nn.Parameter], anchors: Sequence[Tensor]) -> Tensor:
    """|w - w0|^2 over all processes that share the parameters."""
    alike: dict[tuple, list[int]] = {}
    for index, parameter in enumerate(parameters):
        alike.setdefault(layout(parameter), []).append(index)
    squares = []
    for indices in alike.values():
        weights = [local(parameters[i].detach()) for i in indices]
        square = squared_distance(deltas(weights, [anchors[i] for i in indices]))
        squares.append(over_shards(square, parameters[indices[0]]))
    return torch.stack(squares).sum()


def placed_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """``tensor`` on the device and in the precision of ``parameter``; of a sharded one, this process's part."""
    tensor = tensor.to(parameter.device, parameter.dtype)
    if not is_shard(parameter) or is_shard(tensor):
        return local(tensor)
    return local(sharded_like(tensor, cast(Any, parameter)))


def over_shards(value: Tensor, parameter: Tensor) -> Tensor:
    """Sum of a local value over the processes that hold other shards of a parameter."""
    if not is_shard(parameter):
        return value
    from torch.distributed.tensor import DTensor, Partial, Replicate

    kinds = [Partial() if placement.is_shard() else Replicate() for placement in cast(DTensor, parameter).placements]
    return DTensor.from_local(value, cast(DTensor, parameter).device_mesh, kinds, run_check=False).full_tensor()
