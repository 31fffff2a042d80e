"""What freezing the first half of a network saves: time of a training step and of its backward pass.

Steps with everything trained and with ``FreezeLayers(fraction=0.5)`` take turns; reported are medians over rounds of
the ratios within a round.

    python scripts/benchmarks/freezing_cost.py --rounds 20
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time

import timm
import torch
from torch import nn

from hf_transfer_kit import FreezeLayers


def timed_step(model: nn.Module, optimizer: torch.optim.Optimizer, images, labels) -> tuple[float, float]:
    """Seconds of a whole step and of its backward pass."""
    model.train()
    start = time.perf_counter()
    loss = nn.functional.cross_entropy(model(images), labels)
    middle = time.perf_counter()
    loss.backward()
    backward = time.perf_counter() - middle
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - start, backward


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="mobilenetv2_100")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    whole = timm.create_model(options.network, num_classes=5).to(memory_format=torch.channels_last)
    half = copy.deepcopy(whole)
    groups = FreezeLayers(fraction=0.5, quiet=True).apply(half)
    images = torch.randn(options.batch_size, 3, options.image_size, options.image_size)
    images, labels = images.to(memory_format=torch.channels_last), torch.arange(options.batch_size) % 5
    pairs = []
    for model in (whole, half):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        pairs.append((model, torch.optim.AdamW(trained, lr=1e-4)))
    step_ratios, backward_ratios = [], []
    for number in range(options.rounds + 2):
        full, frozen = (timed_step(model, optimizer, images, labels) for model, optimizer in pairs)
        if number >= 2:
            step_ratios.append(frozen[0] / full[0])
            backward_ratios.append(frozen[1] / full[1])
    found = {
        "network": options.network,
        "frozen_groups": sum(group.num_trainable == 0 for group in groups),
        "groups": len(groups),
        "step": round(statistics.median(step_ratios), 3),
        "backward_saved": round(1 - statistics.median(backward_ratios), 3),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
