"""Two classes told apart by brightness, a tiny network for them, and arguments: for races of a second."""

from __future__ import annotations

from dataclasses import dataclass, field

import tiny
import torch
from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit import replace_head
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.selection import Budget, Comparison, compare_strategies

BUDGET = Budget(4, 4, evaluations=2)


class Rows(torch.utils.data.Dataset):
    """Images whose brightness tells the class."""

    def __init__(self, rows: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(rows) % 2
        noise = torch.randn(rows, 3, 32, 32, generator=generator)
        self.images = noise + 2.0 * self.labels.view(-1, 1, 1, 1)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"pixel_values": self.images[index], "labels": self.labels[index], "row": index}


@dataclass(frozen=True)
class BrightData(PreparedData):
    """Prepared splits; ``orders`` notes the rows of each training batch."""

    orders: list[list[int]] = field(default_factory=list)


def bright_data() -> BrightData:
    """Prepared splits of dark and bright pictures."""
    orders: list[list[int]] = []

    def collate(rows):
        if torch.is_grad_enabled():
            orders.append([row["row"] for row in rows])
        return {key: torch.stack([torch.as_tensor(row[key]) for row in rows]) for key in ("pixel_values", "labels")}

    return BrightData(
        train=Rows(16, 0), validation=Rows(10, 1), test=Rows(13, 2), collator=collate, modality="image",
        label_names=("dark", "bright"), orders=orders,
    )  # fmt: skip


def race_arguments(folder) -> TrainingArguments:
    """For runs of a few steps of four rows."""
    return TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], per_device_train_batch_size=4, disable_tqdm=True,
        remove_unused_columns=False,
    )  # fmt: skip


def make_model(seed: int) -> PreTrainedModel:
    """A tiny network with two classes."""
    torch.manual_seed(seed)
    return replace_head(tiny.TRANSFORMERS["resnet"]()[0], 2, seed=seed)


def race(data, args, strategies, *, budget=BUDGET, **settings) -> Comparison:
    """Strategies under a budget; settings as for ``compare_strategies``."""
    return compare_strategies(make_model, data, strategies, args, budget, **settings)
