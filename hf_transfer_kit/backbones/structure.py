"""Whether a network is still made of the same modules and parameters."""

from __future__ import annotations

from torch import nn


def structure_of(model: nn.Module) -> int:
    """A number that changes when a module or parameter is added, replaced, taken away or renamed."""
    parts = []
    for name, module in model.named_modules():
        parts.append((name, id(module)))
        parts += [(name, key, id(value)) for key, value in module._parameters.items() if value is not None]
    return hash(tuple(parts))
