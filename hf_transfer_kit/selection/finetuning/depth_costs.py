"""What a training row costs at each freeze depth, from the floating-point operations of one forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.values import LayerGroups


def forward_costs(model: nn.Module, groups: LayerGroups, batch: Mapping[str, Any]) -> list[float]:
    """Share of one forward that each layer group takes, input to output; they sum to 1.

    Counted in floating-point operations, so the same on every machine. Changes nothing about the model.

    Args:
        model: The model, on the CPU or one device.
        groups: Its layer groups.
        batch: Keyword arguments of one forward, tensors on any device.
    """
    counter = FlopCounterMode(display=False)
    spent = [0.0] * len(groups)
    entered: list[int] = []
    hooks = []
    for index, group in enumerate(groups):
        for module in group.modules.values():
            hooks.append(module.register_forward_pre_hook(lambda *_: entered.append(counter.get_total_flops())))

            def leave(*_: Any, index: int = index) -> None:
                spent[index] += counter.get_total_flops() - entered.pop()

            hooks.append(module.register_forward_hook(leave))
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in batch.items() if isinstance(value, Tensor)}
    try:
        with seeded_eval_mode(model, seed=0), torch.no_grad(), counter:
            model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    # A group without a multiplication is cheap, not free.
    counted = [max(value, 1.0) for value in spent]
    return [value / sum(counted) for value in counted]


def training_cost(shares: Sequence[float], frozen: range, *, cached: bool) -> float:
    """Cost of a training row in units of one forward of the whole network; 3 where nothing is frozen.

    Forward from the first group that is computed, gradients of what lies above the first group that learns, gradients
    of the weights that learn.

    Args:
        shares: Share of each group in a forward, the head last.
        frozen: Depths of the groups that are frozen.
        cached: Whether the frozen groups, the first ones, are not computed.
    """
    learning = [index for index in range(len(shares)) if index not in frozen]
    forward = sum(shares[learning[0] :]) if cached else sum(shares)
    return forward + sum(shares[learning[0] + 1 :]) + sum(shares[index] for index in learning)
