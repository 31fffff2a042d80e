"""Layers whose state is gathered from batches and not learned."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """Every BatchNorm of a network that keeps running statistics, in order of definition."""
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
