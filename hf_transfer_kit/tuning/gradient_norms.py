"""How hard the loss pulls at each layer group, relative to the size of its weights (Lee et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hf_transfer_kit.backbones.shards import has_shards, local
from hf_transfer_kit.tuning.shared_rows import sum_over_processes
from hf_transfer_kit.values import LayerGroup


@torch.no_grad()
def relative_gradient_norms(model: nn.Module, groups: Sequence[LayerGroup]) -> list[float]:
    """|gradient| / |weights| of each group, over the parameters that have a gradient now; 0 where none has.

    Args:
        model: Whose groups they are; with sharded weights every process must call it.
        groups: As of ``layer_groups(model)``.
    """
    squares = []
    for group in groups:
        learning = [p for p in group.parameters.values() if p.grad is not None]
        gradients = _square([local(p.grad) for p in learning if p.grad is not None])
        squares.append(torch.stack([gradients, _square([local(p.detach()) for p in learning])]))
    found = torch.stack([square.to(squares[0].device) for square in squares])  # (groups, 2)
    if has_shards(model):
        sum_over_processes(found)
    return [math.sqrt(gradient / weights) if weights else 0.0 for gradient, weights in found.tolist()]


def _square(tensors: list[Tensor]) -> Tensor:
    if not tensors:
        return torch.zeros((), dtype=torch.float64)
    return torch.stack(torch._foreach_norm(tensors)).double().square().sum()


class MeanNorms:
    """The mean of relative gradient norms over steps; a step in which one is no finite number does not count.

    Args:
        memory: Of how many steps it is, roughly (an exponential moving average); None weighs all steps alike.
    """

    def __init__(self, memory: float | None = None) -> None:
        self.memory = memory
        self.values: list[float] = []
        self.steps = 0

    def add(self, norms: Sequence[float]) -> None:
        """One step more."""
        if not all(map(math.isfinite, norms)):
            return
        self.steps += 1
        share = 1 / self.steps if self.memory is None else max(1 / self.steps, 1 / self.memory)
        before = self.values or [0.0] * len(norms)
        self.values = [old + share * (new - old) for old, new in zip(before, norms, strict=True)]


def factors_of_norms(norms: Sequence[float]) -> list[float]:
    """Each norm divided by the largest, in [0, 1]; all 1 where every one is 0."""
    largest = max(norms, default=0.0)
    return [norm / largest for norm in norms] if largest > 0 else [1.0] * len(norms)
