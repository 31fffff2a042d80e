"""What a domain-adversarial step costs: the kit's, inside the stock Trainer, against a loop written by hand.

The loop is the usual one: both domains in one concatenated forward through the DANN paper's network, domain head behind
a gradient reversal, batches sliced from tensors. Its steps and the Trainer's take turns, ten by ten; what counts for
the Trainer is all the time between two turns of the loop, its logging and the fetching of rows included. Neither clips
gradients. Reported are medians of the ratios of neighbouring turns. Where pytorch-adapt is installed, its DANNHook
takes turns too.

    python scripts/benchmarks/dann_step.py --steps 100
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time

import torch
from torch import nn
from torch.utils.data import default_collate
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.adaptation import (
    AdversarialSchedule,
    DannMnistConfig,
    DannMnistForImageClassification,
    DomainAdversarialModel,
    DomainCollator,
    DomainPairs,
)
from hf_transfer_kit.tuning import LogScalars

ROWS = 2048
TURN = 10  # steps: single ones would find the other's data in the processor's cache


class Reversal(torch.autograd.Function):
    """As it is found in most scripts."""

    @staticmethod
    def forward(ctx, features, strength):
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


class HandWritten:
    """The loop written by hand, a step a call."""

    def __init__(self, source: torch.Tensor, target: torch.Tensor, labels: torch.Tensor, options) -> None:
        self.data = (source, target, labels)
        self.size = options.batch_size
        self.network = DannMnistForImageClassification(DannMnistConfig(batch_norm=options.batch_norm))
        self.domain_head = nn.Sequential(nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 1))
        parameters = [*self.network.parameters(), *self.domain_head.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
        self.domains = torch.cat([torch.zeros(self.size), torch.ones(self.size)])

    def step(self) -> None:
        """Draws a batch and learns from it."""
        source, target, labels = self.data
        rows, others = torch.randint(ROWS, (2, self.size))
        features = self.network.dann_mnist(torch.cat([source[rows], target[others]])).pooler_output
        logits = self.network.classifier(features[: self.size])
        domains = self.domain_head(Reversal.apply(features, 0.5)).squeeze(1)
        loss = nn.functional.cross_entropy(logits, labels[rows])
        loss = loss + nn.functional.binary_cross_entropy_with_logits(domains, self.domains)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class PytorchAdapt:
    """pytorch-adapt's DANNHook on the same network, a step a call; raises ImportError where it is not installed."""

    def __init__(self, source: torch.Tensor, target: torch.Tensor, labels: torch.Tensor, options) -> None:
        from pytorch_adapt.hooks import DANNHook

        self.data = (source, target, labels)
        self.size = options.batch_size
        network = DannMnistForImageClassification(DannMnistConfig(batch_norm=options.batch_norm))
        domain_head = nn.Sequential(nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 1), nn.Flatten(0))
        self.models = {"G": Features(network), "C": network.classifier, "D": domain_head}
        parameters = [p for model in self.models.values() for p in model.parameters()]
        self.hook = DANNHook([torch.optim.SGD(parameters, lr=0.01, momentum=0.9)])

    def step(self) -> None:
        """Draws a batch and learns from it."""
        source, target, labels = self.data
        rows, others = torch.randint(ROWS, (2, self.size))
        self.hook(
            {
                **self.models,
                "src_imgs": source[rows],
                "src_labels": labels[rows],
                "src_domain": torch.zeros(self.size),
                "target_imgs": target[others],
                "target_domain": torch.ones(self.size),
            }
        )


class Features(nn.Module):
    """The features of a network alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.body = network.dann_mnist

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images).pooler_output


class TakeTurns(TrainerCallback):
    """Runs as many steps of each other way after each turn of the Trainer, and times all."""

    def __init__(self, others: dict[str, HandWritten | PytorchAdapt]) -> None:
        self.others = others
        self.ratios: dict[str, list[float]] = {name: [] for name in others}
        self.seconds: list[float] = []
        self.start: float | None = None

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % TURN:
            return
        mine = None if self.start is None else time.perf_counter() - self.start  # the first turn warms up
        for name, other in self.others.items():
            before = time.perf_counter()
            for _ in range(TURN):
                other.step()
            took = time.perf_counter() - before
            if mine is not None:
                self.ratios[name].append(mine / took)
        if mine is not None:
            self.seconds.append(mine / TURN)
        self.start = time.perf_counter()


def measure(data, options, *, channels_last: bool, together: bool) -> dict[str, float]:
    """Median ratios of one way of the kit to the others, and its milliseconds a step."""
    source, target, labels = data
    torch.manual_seed(0)
    network = DannMnistForImageClassification(DannMnistConfig(batch_norm=options.batch_norm))
    model = DomainAdversarialModel.from_classifier(network, method=options.method, together=together)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    turns = TakeTurns({name: way(source, target, labels, options) for name, way in WAYS.items()})
    rows = [{"pixel_values": image, "labels": int(label)} for image, label in zip(source, labels, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            max_steps=options.steps + TURN,
            max_grad_norm=0.0,
            per_device_train_batch_size=options.batch_size,
            learning_rate=0.01,
            optim="sgd",
            optim_args="momentum=0.9",
            logging_steps=50,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
        )
        pairs = DomainPairs(rows, [{"pixel_values": image} for image in target])
        callbacks = [AdversarialSchedule(), LogScalars(), turns]
        Trainer(
            model, args, train_dataset=pairs, data_collator=DomainCollator(default_collate), callbacks=callbacks
        ).train()
    return {
        **{name: round(statistics.median(ratios), 3) for name, ratios in turns.ratios.items()},
        "step_ms": round(1000 * statistics.median(turns.seconds), 1),
    }


WAYS: dict[str, type] = {"to_loop": HandWritten}
if importlib.util.find_spec("pytorch_adapt"):
    WAYS["to_pytorch_adapt"] = PytorchAdapt


def main() -> None:
    """Prints one line of JSON for each way of the kit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=64, help="rows of each domain")
    parser.add_argument("--batch_norm", action="store_true", help="the network with BatchNorm")
    parser.add_argument("--method", default="dann")
    parser.add_argument("--only_default", action="store_true", help="only two forwards and channels_last")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = (torch.randn(ROWS, 3, 28, 28), torch.randn(ROWS, 3, 28, 28), torch.randint(10, (ROWS,)))
    ways = [(True, False)] if options.only_default else [(True, False), (False, False), (True, True), (False, True)]
    for channels_last, together in ways:
        found = measure(data, options, channels_last=channels_last, together=together)
        print(json.dumps({"channels_last": channels_last, "together": together, **found}))


if __name__ == "__main__":
    main()
