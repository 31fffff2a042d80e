"""Means of weights over training: one that forgets, and one that weighs all steps alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def warm_decay(step: int, decay: float) -> float:
    """min(decay, (1 + t) / (10 + t)): short memory at the start, when weights change most.

    Args:
        step: t, optimizer steps so far.
        decay: In [0, 1].
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: Sequence[Tensor], new: Sequence[Tensor], decay: float) -> None:
    """average <- decay * average + (1 - decay) * new, in place; what is no floating number (counters) is copied.

    Args:
        average: Tensors.
        new: Of the same shapes, of any precision; unchanged.
        decay: In [0, 1].
    """
    averaged: tuple[list[Tensor], list[Tensor]] = ([], [])
    for own, other in zip(average, new, strict=True):
        if own.is_floating_point():
            averaged[0].append(own)
            averaged[1].append(other.detach().to(own))
        else:
            own.copy_(other)
    torch._foreach_lerp_(*averaged, 1 - decay)


def wide_copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies in float32 or wider, in which small changes add up."""
    return [t.detach().to(torch.promote_types(t.dtype, torch.float32), copy=True) for t in tensors]


class Average(NamedTuple):
    """A mean of weights."""

    tensors: list[Tensor]
    """Float32 or wider."""
    count: int  # type: ignore[assignment]  # a NamedTuple is a tuple, whose count() nobody calls
    """Of how many steps."""

    def with_more(self, others: Sequence[Tensor], count: int = 1) -> Average:
        """The mean with ``count`` steps more whose mean is ``others``; its own tensors are changed."""
        total = self.count + count
        follow(self.tensors, others, self.count / total)
        return Average(self.tensors, total)
