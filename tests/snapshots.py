"""Rows for Trainer from the inputs of a tiny model, and what a training moved, bit by bit."""

from __future__ import annotations

import torch
from torch import nn
from transformers import TrainerCallback


def labelled_rows(inputs: dict[str, torch.Tensor], count: int = 8, classes: int = 3) -> list[dict[str, torch.Tensor]]:
    """``count`` rows that repeat the rows of ``inputs``, with labels."""
    size = len(next(iter(inputs.values())))
    return [{**{n: v[i % size] for n, v in inputs.items()}, "labels": torch.tensor(i % classes)} for i in range(count)]


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in [*model.named_parameters(), *model.named_buffers()]}


def moved(before: dict[str, torch.Tensor], model: nn.Module) -> set[str]:
    """Names of parameters and buffers that are not bit-identical to ``before``."""
    return {name for name, value in snapshot(model).items() if not torch.equal(before[name], value)}


def inside(names: set[str], modules) -> set[str]:
    """The names that lie under one of the modules, given by name."""
    return {name for name in names if any(name.startswith(f"{module}.") for module in modules)}


class Snapshots(TrainerCallback):
    """Keeps a copy of the model after each step, and whether each parameter required a gradient in it."""

    def __init__(self):
        self.after = {}
        self.trainable = {}

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.after[state.global_step] = snapshot(model)
        self.trainable[state.global_step] = {n for n, p in model.named_parameters() if p.requires_grad}
