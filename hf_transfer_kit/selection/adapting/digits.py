"""Networks for digits that begin with random weights, in place of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, ViTImageProcessor

from hf_transfer_kit.adaptation import DannMnistConfig, DannMnistForImageClassification

DANN_MNIST = "dann_mnist"

DIGIT_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    DANN_MNIST: {"batch_norm": True},
    "dann_mnist_3x3": {
        "batch_norm": True,
        "instance_norm": True,
        "widths": (32, 64, 128),
        "kernel_size": 3,
        "padding": 1,
        "hidden": (128,),
    },
}
"""Name, in place of a checkpoint's -> options of ``DannMnistConfig``: the DANN paper's network with BatchNorm, and one
with three convolutions of 3 x 3 on normalised images, 2.5 times as slow."""


def digit_network(name: str, label_names: Sequence[str], *, seed: int = 0) -> PreTrainedModel:
    """A network of ``DIGIT_NETWORKS`` with random weights.

    Args:
        name: Which.
        label_names: Names of the classes.
        seed: Of the weights; the global state is not touched.
    """
    names = dict(enumerate(label_names))
    config = DannMnistConfig(
        **DIGIT_NETWORKS[name], id2label=names, label2id={label: index for index, label in names.items()}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DannMnistForImageClassification(config)


def digit_processor() -> ViTImageProcessor:
    """Images as the networks read them: 28 x 28, in [-1, 1]."""
    return ViTImageProcessor(size={"height": 28, "width": 28}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
