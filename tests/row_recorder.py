"""Sources of numbered rows, and a network that remembers which rows each step showed it."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import default_collate

from hf_transfer_kit.multitask import MultiTaskCollator, Source

TASKS = {"a": {"type": "regression"}, "b": {"type": "classification", "num_labels": 2}}


def numbered(count, start=0.0, **labels):
    """Rows whose input is their number."""
    return [{"x": start + i, **labels} for i in range(count)]


def two_sources(first=12, second=5):
    """Rows 0, 1, ... labelled for a, and rows 100, 101, ... labelled for b."""
    return {
        "first": Source(numbered(first, value=0.5), {"a": "value"}),
        "second": Source(numbered(second, start=100.0, label=1), {"b": "label"}),
    }


def collator():
    return MultiTaskCollator({"default": default_collate}, TASKS)


class Recorder(nn.Module):
    """One weight; ``seen`` holds the rows of each batch, ``tasks`` the tasks that it labels."""

    accepts_loss_kwargs = False

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen = []
        self.tasks = []

    def forward(self, **batch):
        self.seen.append(batch["default__x"].int().tolist())
        self.tasks.append(sorted(name.removesuffix("__rows") for name in batch if name.endswith("__rows")))
        return {"loss": self.weight * batch["default__x"].float().mean()}
