"""What L2-SP costs a training step: without it, as the callback, and as a penalty in the loss through autograd.

The kinds of step take turns, so that the machine's moods hit all alike; reported is the median over rounds of each
kind's time divided by that of the step without L2-SP in the same round.

    python scripts/benchmarks/l2sp_cost.py --rounds 30
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import timm
import torch
import transformers
from torch import nn

from hf_transfer_kit import L2SP

KINDS = {"none": None, "again": None, "l2sp": {}, "decoupled": {"decoupled": True}, "autograd": None}


def resnet18() -> tuple[nn.Module, tuple]:
    """timm's resnet18 on 16 images of 96 x 96."""
    return timm.create_model("resnet18", num_classes=10), (torch.randn(16, 3, 96, 96), torch.arange(16) % 10)


def bert() -> tuple[nn.Module, tuple]:
    """A BERT of 4 layers of width 256 on 16 x 64 tokens."""
    config = transformers.BertConfig(
        hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024, num_labels=2
    )
    model = transformers.BertForSequenceClassification(config)
    return model, (torch.randint(0, 30_000, (16, 64)), torch.arange(16) % 2)


def make_step(model: nn.Module, batch: tuple, kind: str, optimizer_class: Callable) -> Callable[[], None]:
    """One training step of a kind in ``KINDS`` on its own copy of the model."""
    model = copy.deepcopy(model).train()
    optimizer = optimizer_class(model.parameters(), lr=1e-4)
    inputs, labels = batch
    w0 = [parameter.detach().clone() for parameter in model.parameters()]
    if KINDS[kind] is not None:
        L2SP(0.01, 0.01, **KINDS[kind]).attach(model, optimizer)

    def step() -> None:
        outputs = model(inputs)
        loss = nn.functional.cross_entropy(getattr(outputs, "logits", outputs), labels)
        if kind == "autograd":
            distances = [(p - w).square().sum() for p, w in zip(model.parameters(), w0, strict=True)]
            loss = loss + 0.005 * torch.stack(distances).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def ratios(make: Callable, optimizer_class: Callable, *, rounds: int) -> dict[str, float]:
    """Median over rounds of each kind's time over that of "none", and the seconds of "none"."""
    model, batch = make()
    steps = {kind: make_step(model, batch, kind, optimizer_class) for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    order = list(KINDS)
    for number in range(rounds + 2):
        order = order[1:] + order[:1]
        for kind in order:
            start = time.perf_counter()
            steps[kind]()
            if number >= 2:
                times[kind].append(time.perf_counter() - start)
    result = {
        kind: statistics.median(t / base for t, base in zip(times[kind], times["none"], strict=True)) for kind in KINDS
    }
    return {**{kind: round(value, 3) for kind, value in result.items()}, "seconds": statistics.median(times["none"])}


def main() -> None:
    """Prints one line of JSON a network and optimizer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    for network in (resnet18, bert):
        for optimizer_class in (torch.optim.SGD, torch.optim.AdamW):
            found = ratios(network, optimizer_class, rounds=options.rounds)
            print(json.dumps({"network": network.__name__, "optimizer": optimizer_class.__name__, **found}), flush=True)


if __name__ == "__main__":
    main()
