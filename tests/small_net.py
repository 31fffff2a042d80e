"""A tiny network with a body and a head in float64, its rows, and how weights are compared."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    """A body of two groups and a head, its loss a mean; `penalised` puts the penalty into the loss itself."""

    accepts_loss_kwargs = False

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6))
        self.head = nn.Linear(6, 3)
        self.to(dtype)
        with torch.no_grad():
            for seed, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
        self.penalised = None
        self.dummy_inputs = {"x": torch.zeros(1, 4), "labels": torch.zeros(1, dtype=torch.long)}

    def forward(self, x, labels=None):
        logits = self.head(self.body(x.to(self.head.weight.dtype)))
        loss = nn.functional.cross_entropy(logits, labels)
        if self.penalised is not None and self.training:
            loss = loss + self.penalised(self)
        return {"loss": loss, "logits": logits}


def rows(count=48):
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(4, generator=generator), "labels": torch.tensor(i % 3)} for i in range(count)]


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def difference(first, second):
    return max((first[name] - second[name]).abs().max().item() for name in first)
