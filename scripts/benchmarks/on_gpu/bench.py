"""Where and how large everything is measured, and ways to take times that a GPU does not falsify."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from torch import nn
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification, Trainer, TrainingArguments

Record = dict[str, Any]
"""What was measured: ``what``, figures, and ``mark``, one of ``MARKS`` or an empty text."""
SLOWER, WRONG, FAILED, UNMEASURED = "slower", "wrong", "failed", "not measured"
MARKS = (SLOWER, WRONG, FAILED, UNMEASURED)
LIMIT = 1.05
"""Beyond it a ratio to what is written by hand is marked."""
T = TypeVar("T")


@dataclass(frozen=True)
class Steps:
    """When what happens in a training of ``precision``; steps count from 0."""

    first_compared: int
    measured: int

    @property
    def overflowing(self) -> int:
        """The step whose gradients are too large."""
        return self.measured + 1

    @property
    def total(self) -> int:
        """One more than that."""
        return self.measured + 3


@dataclass(frozen=True)
class Bench:
    """A device and a size.

    Args:
        device: ``"cuda"`` or ``"cpu"``.
        reduced: Whether everything is so small that a CPU runs it in a minute: then figures mean nothing.
        folder: For what is written on the way.
    """

    device: str
    reduced: bool
    folder: Path

    def given(self, whole: T, reduced: T) -> T:
        """One of two sizes."""
        return reduced if self.reduced else whole

    def synchronize(self) -> None:
        """Returns when the device has done all it was told."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Time of one call, the device's work included."""
        self.synchronize()
        started = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - started

    def peak_bytes(self, work: Callable[[], Any]) -> int | None:
        """Most memory of the device that tensors held during one call; None on a CPU."""
        if self.device != "cuda":
            work()
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()

    def autocast(self) -> contextlib.AbstractContextManager:
        """bfloat16, as ``--bf16`` has it."""
        return torch.autocast(self.device, dtype=torch.bfloat16)

    def arguments(self, folder: str, **settings: Any) -> TrainingArguments:
        """Quiet arguments for the stock Trainer on the device; nothing is saved."""
        given = {
            "use_cpu": self.device == "cpu",
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "lr_scheduler_type": "constant",
            "logging_nan_inf_filter": False,
            "dataloader_pin_memory": False,
            "seed": 0,
        }
        return TrainingArguments(str(self.folder / folder), **{**given, **settings})

    def network(self, name: str, num_labels: int = 10) -> TimmWrapperForImageClassification:
        """A network of ``NETWORKS`` with random weights, in transformers' class, on the device."""
        options = NETWORKS[name]
        torch.manual_seed(0)
        config = TimmWrapperConfig(
            architecture=self.given(options["whole"], options["reduced"]),
            num_labels=num_labels,
            do_pooling=True,
            model_args=self.given(None, options["model_args"]),
            pretrained_cfg={"num_classes": num_labels},
        )
        return TimmWrapperForImageClassification(config).to(self.device)

    @property
    def steps(self) -> Steps:
        """50 steps whose last ten are compared, or few."""
        return self.given(Steps(40, 50), Steps(1, 2))

    @property
    def side(self) -> int:
        """Of pictures, in pixels."""
        return self.given(224, 32)


NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "resnet50": {"whole": "resnet50", "reduced": "test_resnet", "model_args": None},
    "ViT-S": {
        "whole": "vit_small_patch16_224",
        "reduced": "test_vit",
        "model_args": {"img_size": 32, "depth": 2},
    },
}


def transform_of(name: str) -> tuple[list[float], list[float]]:
    """Mean and deviation by which timm's network wants its pictures."""
    config = timm.get_pretrained_cfg(NETWORKS[name]["whole"])
    return list(config.mean), list(config.std)


def quiet_trainer(model: nn.Module, args: TrainingArguments, **given: Any) -> Trainer:
    """The stock Trainer without what it prints."""
    from transformers import PrinterCallback

    trainer = Trainer(model, args, **given)
    trainer.remove_callback(PrinterCallback)
    return trainer


def median_ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios of neighbouring turns."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
