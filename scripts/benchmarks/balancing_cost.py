"""What balancing costs a training step of 4 tasks: each method, and PCGrad written by hand, against the plain sum.

The kinds of step take turns, some steps each, so that the machine's moods hit all alike. Reported are medians over
rounds of each kind's time divided by that of the plain sum in the same round; "single" is a step of one task on the
same rows, "plain_pcgrad" runs the trunk backward once a task. Methods whose packages are missing
are named, not measured.

    python scripts/benchmarks/balancing_cost.py --trunk resnet18 --rounds 20
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
from torch import Tensor, nn
from torch.nn import functional

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import BALANCERS, Balancer

TASKS = ["a", "b", "c", "d"]
CLASSES = 10
WARM_UP = 1  # rounds


class Network(nn.Module):
    """A trunk of timm and a linear head a task."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self.trunk = timm.create_model(options.trunk, num_classes=0)
        with torch.no_grad():
            self.trunk.eval()
            width = self.trunk(torch.zeros(1, 3, options.image_size, options.image_size)).shape[1]
        self.heads = nn.ModuleDict({task: nn.Linear(width, CLASSES) for task in TASKS})
        self.train()

    def losses(self, images: Tensor, labels: Tensor, *, common: bool) -> tuple[dict[str, Tensor], Tensor]:
        """Task -> mean cross entropy over its rows, all where ``common``, else its quarter; and the features."""
        shared = self.trunk(images)
        losses = {}
        for number, task in enumerate(TASKS):
            rows = torch.arange(len(images)) if common else torch.arange(number, len(images), len(TASKS))
            losses[task] = functional.cross_entropy(self.heads[task](shared[rows]), labels[rows])
        return losses, shared


def plain_pcgrad(network: Network, losses: dict[str, Tensor]) -> None:
    """Fills ``.grad`` as most scripts do: a backward of everything for each task, projections of whole gradients."""
    trunk = list(network.trunk.parameters())
    rows = []
    for loss in losses.values():
        for parameter in trunk:
            parameter.grad = None
        loss.backward(retain_graph=True)
        rows.append(torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in trunk]))
    total = torch.zeros_like(rows[0])
    for number, row in enumerate(rows):
        projected = row.clone()
        for other in torch.randperm(len(rows)).tolist():
            product = projected @ rows[other]
            if other != number and product < 0:
                projected -= product / rows[other].square().sum() * rows[other]
        total += projected
    for parameter, gradient in zip(trunk, total.split([p.numel() for p in trunk]), strict=True):
        parameter.grad = gradient.view_as(parameter)


def make_step(
    network: Network, kind: str, options: argparse.Namespace, balancer: Balancer | None
) -> Callable[[], None]:
    """One training step of a kind on its own copy of the network."""
    network = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    images = torch.randn(options.batch_size, 3, options.image_size, options.image_size)
    labels = torch.arange(options.batch_size) % CLASSES

    def step() -> None:
        optimizer.zero_grad()
        if kind == "single":
            functional.cross_entropy(network.heads["a"](network.trunk(images)), labels).backward()
        else:
            losses, shared = network.losses(images, labels, common=options.common)
            if balancer is None:
                plain_pcgrad(network, losses)
            else:
                balancer(losses, shared).backward()
        optimizer.step()

    return step


def make_steps(options: argparse.Namespace) -> tuple[dict[str, Callable[[], None]], list[str]]:
    """Kind -> step, "fixed" among them, and the methods whose packages are missing."""
    network, missing = Network(options), []
    steps = {"single": make_step(network, "single", options, None)}
    for name, balancer in BALANCERS.items():
        try:
            steps[name] = make_step(network, name, options, balancer(TASKS))
        except SettingsError:
            missing.append(name)
    steps["plain_pcgrad"] = make_step(network, "plain_pcgrad", options, None)
    return steps, missing


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Median ratios, and seconds of a step of the plain sum."""
    steps, missing = make_steps(options)
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    order = list(steps)
    for number in range(options.rounds + WARM_UP):
        order = order[1:] + order[:1]
        for kind in order:
            start = time.perf_counter()
            for _ in range(options.steps):
                steps[kind]()
            if number >= WARM_UP:
                times[kind].append((time.perf_counter() - start) / options.steps)
    ratios = {
        kind: round(statistics.median(own / base for own, base in zip(of_kind, times["fixed"], strict=True)), 3)
        for kind, of_kind in times.items()
    }
    return {"ratios": ratios, "seconds": statistics.median(times["fixed"]), "missing": missing}


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trunk", default="resnet18", help="a network of timm")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--common", action="store_true", help="every task labels all rows, not its quarter")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(json.dumps({**vars(options), **measure(options)}))


if __name__ == "__main__":
    main()
