"""Arithmetic that must not be rounded to half precision, inside networks that are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)


def without_autocast(device: torch.device | str) -> AbstractContextManager:
    """While it lasts, autocast rounds nothing: ``.float()`` alone does not stop it at a matrix product."""
    return torch.autocast(torch.device(device).type, enabled=False)


def in_float32(value: Tensor) -> Tensor:
    """A tensor of half precision as float32, with its gradient; others as they are."""
    return value.float() if value.dtype in HALF else value


def called_in_float32(module: nn.Module, *inputs: Tensor) -> Any:
    """What a module gives for its inputs when neither they, its weights nor its products are of half precision.

    Weights of half precision stay so and get their gradients; wider ones are used as they are.

    Args:
        module: A head, of whatever layers.
        inputs: Its inputs by position, at least one.
    """
    with without_autocast(inputs[0].device):
        inputs = tuple(map(in_float32, inputs))
        held = [*module.named_parameters(), *module.named_buffers()]
        if not any(value.dtype in HALF for _, value in held):
            return module(*inputs)
        return torch.func.functional_call(module, {name: in_float32(value) for name, value in held}, inputs)
