"""What a training step of 4 tasks costs: against one of a single task, and for each way of balancing.

Also PCGrad written by hand, the way most scripts do it. The kinds of step take turns, some steps each, so that the
machine's moods hit all alike. Reported are medians over rounds of a kind's time divided by another's in the same
round. "single" is a step of transformers' own classifier on the same rows, "uniform" one of the multi-task model
without a balancer, and "plain_pcgrad" runs the trunk backward once a task. Where LibMTL is installed its hard parameter
sharing is measured as well: the plain sum, PCGrad on the trunk's weights and IMTL at the shared representation. Methods
whose packages are missing are named, not measured.

    python scripts/benchmarks/balancing_cost.py --trunk resnet18 --rounds 20
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import BALANCERS, Balancer, MultiTaskModel

CLASSES = 10
TASKS = {name: {"type": "classification", "num_labels": CLASSES} for name in "abcd"}
BARS = {"uniform / single": 1.05, "gradient balancer / uniform": 1.20}
WARM_UP = 1  # rounds


def new_classifier(options: argparse.Namespace) -> TimmWrapperForImageClassification:
    """A network of timm in transformers' class, with random weights."""
    config = TimmWrapperConfig(
        architecture=options.trunk,
        num_labels=CLASSES,
        do_pooling=True,
        pretrained_cfg={"num_classes": CLASSES},
    )
    return TimmWrapperForImageClassification(config).train()


def packed_batch(options: argparse.Namespace) -> dict[str, Tensor]:
    """Random pictures of which each task labels a quarter, or all where ``common``."""
    count = options.batch_size
    batch = {"default__pixel_values": torch.randn(count, 3, options.image_size, options.image_size)}
    for number, task in enumerate(TASKS):
        rows = torch.arange(count) if options.common else torch.arange(number, count, len(TASKS))
        batch |= {f"{task}__rows": rows, f"{task}__labels": rows % CLASSES}
    return batch


def plain_pcgrad(model: MultiTaskModel, batch: dict[str, Tensor]) -> None:
    """Fills ``.grad`` as most scripts do: a backward of everything for each task, projections of whole gradients."""
    features = model.trunk(batch["default__pixel_values"]).logits
    trunk = list(model.trunk.parameters())
    rows = []
    for task in TASKS:
        for parameter in trunk:
            parameter.grad = None
        logits = model.heads[task](features[batch[f"{task}__rows"]])
        functional.cross_entropy(logits, batch[f"{task}__labels"]).backward(retain_graph=True)
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


def single_step(classifier: TimmWrapperForImageClassification, batch: dict[str, Tensor]) -> Callable[[], None]:
    """A training step of one task on all rows."""
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1e-3)
    pictures = batch["default__pixel_values"]
    labels = torch.arange(len(pictures)) % CLASSES

    def step() -> None:
        optimizer.zero_grad()
        classifier(pixel_values=pictures, labels=labels).loss.backward()
        optimizer.step()

    return step


def several_step(
    classifier: TimmWrapperForImageClassification,
    batch: dict[str, Tensor],
    balancer: Balancer | None,
    *,
    by_hand: bool = False,
) -> Callable[[], None]:
    """A training step of all tasks."""
    model = MultiTaskModel.from_backbone(classifier, TASKS).train()
    model.balancer = balancer
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        if by_hand:
            plain_pcgrad(model, batch)
        else:
            model(**batch).loss.backward()
        optimizer.step()

    return step


def libmtl_steps(classifier: TimmWrapperForImageClassification, batch: dict[str, Tensor]) -> dict[str, Callable]:
    """The same step in LibMTL (Lin & Zhang 2023, JMLR), trunk, heads and rows being the same."""
    from LibMTL.architecture import HPS
    from LibMTL.weighting import EW, IMTL, PCGrad

    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = MultiTaskModel.from_backbone(copy.deepcopy(classifier), TASKS).train().trunk

        def forward(self, pictures: Tensor) -> Tensor:
            return self.trunk(pictures).logits

    def step_of(weighting: type, *, at_representation: bool) -> Callable[[], None]:
        kind = type("LibMTLModel", (HPS, weighting), {})
        heads = MultiTaskModel.from_backbone(copy.deepcopy(classifier), TASKS).heads
        decoders = nn.ModuleDict({task: heads[task].linear for task in TASKS})
        model = kind(list(TASKS), Trunk, decoders, at_representation, False, torch.device("cpu"))
        model.init_param()
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

        def step() -> None:
            optimizer.zero_grad()
            logits = model(batch["default__pixel_values"])
            losses = [
                functional.cross_entropy(logits[task][batch[f"{task}__rows"]], batch[f"{task}__labels"])
                for task in TASKS
            ]
            model.backward(torch.stack(losses))
            optimizer.step()

        return step

    return {
        "LibMTL uniform": step_of(EW, at_representation=False),
        "LibMTL pcgrad": step_of(PCGrad, at_representation=False),
        "LibMTL imtl, representation": step_of(IMTL, at_representation=True),
    }


def make_steps(options: argparse.Namespace) -> tuple[dict[str, Callable[[], None]], list[str]]:
    """Kind -> step, and the methods whose packages are missing."""
    classifier, batch, missing = new_classifier(options), packed_batch(options), []
    steps = {"single": single_step(copy.deepcopy(classifier), batch)}
    steps["uniform"] = several_step(copy.deepcopy(classifier), batch, None)
    for name, balancer in BALANCERS.items():
        try:
            steps[name] = several_step(copy.deepcopy(classifier), batch, balancer(list(TASKS)))
        except SettingsError:
            missing.append(name)
    steps["plain_pcgrad"] = several_step(copy.deepcopy(classifier), batch, None, by_hand=True)
    try:
        steps |= libmtl_steps(classifier, batch)
    except ImportError:
        missing.append("LibMTL")
    return steps, missing


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Median ratios, and seconds of a step of each kind."""
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
    return {
        "uniform / single": _ratio(times["uniform"], times["single"]),
        "/ uniform": {kind: _ratio(of_kind, times["uniform"]) for kind, of_kind in times.items()},
        "seconds": {kind: statistics.median(of_kind) for kind, of_kind in times.items()},
        "missing": missing,
        "bars": BARS,
    }


def _ratio(times: list[float], base: list[float]) -> float:
    return round(statistics.median(own / other for own, other in zip(times, base, strict=True)), 3)


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
