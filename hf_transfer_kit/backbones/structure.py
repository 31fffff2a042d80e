"""Whether a network is still built the same way."""

from __future__ import annotations

from torch import nn


def structure_of(model: nn.Module) -> int:
    """A number that changes when a module or parameter is added, taken away, renamed, or gets another class or shape.

    Values and identities do not count: what one forward told holds for a network that is sharded afterwards too.
    """
    parts: list[tuple] = []
    for name, module in model.named_modules():
        parts.append((name, type(module).__name__.removeprefix("FSDP")))
        parts += [(name, key, tuple(value.shape)) for key, value in module._parameters.items() if value is not None]
    return hash(tuple(parts))
