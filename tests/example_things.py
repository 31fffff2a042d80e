"""What examples in docstrings may use without making it: name -> maker, called anew for each example."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import joint_networks
import numpy as np
import tiny
import torch
import transformers
from hub.sharing_cases import classified, image_processor
from hub.sharing_cases import tokenizer as few_words
from reports import adaptation_case, generalisation_case, multitask_case, zero_shot_case
from selection.generalising import source_data

from hf_transfer_kit.data import InputSizes, RawInputs, embedded_data, load_data
from hf_transfer_kit.hub import save_results
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.adapting import Domains
from hf_transfer_kit.selection.advice import measured_experience
from hf_transfer_kit.values import DepthResult, DepthSearch, SuspectedLabel
from hf_transfer_kit.zero_shot import AttributeTable


def pictures(count: int, seed: int, shift: float = 0.0) -> list[dict[str, Any]]:
    """Rows of three classes that a mean tells apart."""
    draw = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.randn(count, 3, 32, 32, generator=draw) + shift
    return [{"pixel_values": image + row % 3, "labels": row % 3} for row, image in enumerate(images)]


def model() -> transformers.PreTrainedModel:
    """A small ResNet of three classes."""
    torch.manual_seed(0)
    return tiny.TRANSFORMERS["resnet"]()[0]


def args() -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        "run", max_steps=2, per_device_train_batch_size=4, report_to=[], disable_tqdm=True, use_cpu=True,
        save_strategy="no", logging_steps=1,
    )  # fmt: skip


class Trainer(transformers.Trainer):
    """Transformers' own, which would print what it logs."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.remove_callback(transformers.PrinterCallback)


def features() -> np.ndarray:
    """(60, 4), three classes one after the other."""
    return np.random.default_rng(0).normal(size=(60, 4)) + 3 * np.eye(4)[np.arange(60) % 3]


def table() -> AttributeTable:
    values = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0.5, 0, 0.5], [1, 1, 1]])
    return AttributeTable(("horse", "zebra", "gull", "wasp", "moth", "fly"), ("stripes", "hooves", "wings"), values)


@functools.cache
def loaded():
    return load_data("digits", train_size=30)


def search() -> DepthSearch:
    results = tuple(
        DepthResult(
            depth, f"group {depth}", f"freeze_first:k={depth}", 0, 10, (0, 1), value, 0.01, None, 100, 3.0, 1.0, False
        )
        for depth, value in ((0, 0.4), (1, 0.8), (2, 0.79))
    )
    return DepthSearch(2, "freeze_first:k=2", "first", results, {"total": 1.0}, "Freeze 2 of 3.")


def finished() -> str:
    """The folder of a finished run."""
    save_results(
        "finished",
        classified("image", 3),
        model(),
        RawInputs("image", image_processor(), InputSizes()),
        {},
        license="mit",
    )
    return "finished"


def csv_file() -> str:
    lines = ["text,label", *(f"a sentence of few words w{i},{'good' if i % 2 else 'bad'}" for i in range(20))]
    Path("reviews.csv").write_text("\n".join(lines))
    return "reviews.csv"


THINGS = {
    "np": lambda: np,
    "torch": lambda: torch,
    "nn": lambda: torch.nn,
    "Trainer": lambda: Trainer,
    "model": model,
    "args": args,
    "train": lambda: pictures(12, 0),
    "test": lambda: pictures(6, 1),
    "target": lambda: pictures(8, 2, shift=0.5),
    "collator": lambda: transformers.default_data_collator,
    "features": features,
    "labels": lambda: np.arange(60) % 3,
    "target_features": lambda: 2 * features() + 1,
    "logits": lambda: np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0], [1.0, 1.0, 1.0]]),
    "table": table,
    "text_model": lambda: tiny.TRANSFORMERS["bert"]()[0],
    "tokenizer": few_words,
    "towers": lambda: joint_networks.towers("clip"),
    "clip_folder": lambda: joint_networks.save("clip", Path("clip")),
    "digits": lambda: embedded_data("digits"),
    "loaded": loaded,
    "processor": image_processor,
    "data": lambda: source_data.prepared("red"),
    "other_data": lambda: source_data.prepared("green"),
    "sources": lambda: source_data.sources("red", "green"),
    "domains": lambda: Domains(
        source_data.prepared("red"), source_data.prepared("green"), labelled=("validation", "test"), pretrained=False
    ),
    "make_model": lambda: source_data.network,
    "budget": lambda: Budget(max_steps=2, batch_size=8, evaluations=1, learning_rate=0.01),
    "adaptation": adaptation_case.adaptation,
    "generalisation": generalisation_case.generalisation,
    "multitasking": multitask_case.multitasking,
    "unseen_classes": zero_shot_case.unseen_classes,
    "search": search,
    "report": lambda: classified("image", 3),
    "finished": finished,
    "csv_file": csv_file,
    "experience": measured_experience,
    "suspected": lambda: (SuspectedLabel(3, "2", "7", 0.4),),
}
