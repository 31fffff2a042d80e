"""A term grafted onto a model's outputs: whichever of them becomes the loss, the term's gradient flows with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten


class Graft:
    """Joins terms to outputs for one run, and counts which of them a backward has reached.

    Args:
        scale: What the total loss is multiplied by in its backward (mixed precision's factor, one over the number of
            accumulation steps); asked for where the loss is not the model's own.
    """

    def __init__(self, scale: Callable[[], float]) -> None:
        self.scale = scale
        self.made = 0
        self.reached = 0

    def onto(self, output: Any, term: Tensor, share: Tensor | float, loss: Tensor | None) -> Any:
        """The same output, whose backward adds the term's gradient once.

        Where the model's own loss is back-propagated, ``share * term`` is in it, value and gradient. Where another loss
        is made of the other outputs, the term's gradient is added with weight ``scale()``.

        Args:
            output: A tensor, mapping, tuple or dataclass known to torch's trees.
            term: One element, in the graph.
            share: Weight of the term in the model's own loss.
            loss: The tensor in ``output`` that is the model's own loss; None where there is none.

        Raises:
            ValueError: When no output is in the graph, so that nothing could learn.
        """
        leaves, spec = tree_flatten(output)
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        if not places:
            raise ValueError("no output is in the graph")
        own = next((number for number, place in enumerate(places) if leaves[place] is loss), None)
        joined = _Joined.apply(self, own, share, term, *(leaves[place] for place in places))
        for place, tensor in zip(places, joined, strict=True):
            leaves[place] = tensor
        self.made += 1
        made = tree_unflatten(leaves, spec)
        if not isinstance(output, dict):
            return made
        for key in output:  # a mapping keeps its identity, for hooks of others may hold it
            output[key] = made[key]
        return output

    def take_counts(self) -> tuple[int, int]:
        """Terms made, and terms reached by a backward, since the last call."""
        counts = (self.made, self.reached)
        self.made = self.reached = 0
        return counts


class _Joined(torch.autograd.Function):
    """Outputs as they are; the gradient of one of them, or a scale, becomes that of the term."""

    @staticmethod
    def forward(
        ctx: Any, graft: Graft, own: int | None, share: torch.Tensor, term: torch.Tensor, *outputs: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.graft, ctx.own, ctx.share = graft, own, share
        ctx.term = (term.shape, term.dtype, term.device)
        # The term's value enters the model's own loss, which is what is logged.
        return tuple(
            output + (share * term).to(output.dtype) if number == own else output.view_as(output)
            for number, output in enumerate(outputs)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        shape, dtype, device = ctx.term
        of_loss = None if ctx.own is None else gradients[ctx.own]
        ctx.graft.reached += 1
        weight = of_loss * ctx.share if of_loss is not None else ctx.graft.scale()
        weight = torch.as_tensor(weight, dtype=dtype, device=device).reshape(shape)
        return None, None, None, weight, *gradients
