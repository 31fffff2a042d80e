"""The embedded example's source network: a small residual network that learns scikit-learn's digits in seconds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import Dataset
from transformers import (
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    TrainingArguments,
    ViTImageProcessor,
)

from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.finetuning.running import make_trainer, run_arguments, to_channels_last
from hf_transfer_kit.selection.strategies.from_scratch import FromScratch


def digits_network(num_labels: int = 10, *, seed: int = 0) -> PreTrainedModel:
    """A residual network for 32 x 32 images, 0.3 M random weights, in five stages."""
    config = cast(Any, ResNetConfig)(
        embedding_size=16,
        hidden_sizes=[16, 32, 64, 128],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        num_labels=num_labels,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNetForImageClassification(config)


def train_digits_source(folder: str | Path, args: TrainingArguments, *, steps: int = 400, seed: int = 0) -> str:
    """Trains ``digits_network`` on the embedded ``digits`` and saves it with its processor.

    Args:
        folder: Where the checkpoint goes.
        args: The user's arguments (device, precision, processes); steps and rate are set here.
        steps: Optimizer steps of 64 rows.
        seed: Seed of weights and data order.

    Returns:
        The folder as text, for ``load_model``.

    Example:
        >>> folder = train_digits_source("digits_network", args, steps=2)
        The source network reaches 0... on the digits it has not seen.
        >>> load_model(folder).config.num_labels
        10
    """
    loaded = load_data("digits")
    processor = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    data = prepare_data(loaded, processor, augment="no_flip")
    model = digits_network(len(loaded.label_names), seed=seed)
    model.config.id2label = dict(enumerate(loaded.label_names))
    model.config.label2id = {label: index for index, label in enumerate(loaded.label_names)}
    to_channels_last(model, data)
    source_args = copy.copy(args)
    source_args.warmup_steps = steps // 10
    budget = Budget(steps, 32, evaluations=1, learning_rate=2e-3)
    strategy = FromScratch()
    source_args = run_arguments(source_args, budget, strategy, reads="image", seed=seed)
    trainer = make_trainer(strategy, model, data, source_args, batch_size=budget.batch_size)
    trainer.train()
    accuracy = trainer.evaluate(cast(Dataset, data.test))["eval_accuracy"]
    if trainer.is_world_process_zero():
        print(f"The source network reaches {accuracy:.3f} on the digits it has not seen.")
        cast(PreTrainedModel, trainer.model).save_pretrained(folder)
        processor.save_pretrained(folder)
    trainer.accelerator.wait_for_everyone()
    return str(folder)
