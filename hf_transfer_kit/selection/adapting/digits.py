"""The network that adapts from digits to digits on photographs where no pretrained one is named."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, ViTImageProcessor

from hf_transfer_kit.adaptation import DannMnistConfig, DannMnistForImageClassification

DANN_MNIST = "dann_mnist"
"""Name of the network in place of a checkpoint's."""


def dann_mnist(label_names: Sequence[str], *, seed: int = 0) -> PreTrainedModel:
    """The MNIST network of the DANN paper with a BatchNorm after each convolution, random weights.

    Args:
        label_names: Names of the classes.
        seed: Of the weights; the global state is not touched.
    """
    names = dict(enumerate(label_names))
    config = DannMnistConfig(batch_norm=True, id2label=names, label2id={name: index for index, name in names.items()})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DannMnistForImageClassification(config)


def dann_mnist_processor() -> ViTImageProcessor:
    """Images as the network reads them: 28 x 28, in [-1, 1]."""
    return ViTImageProcessor(size={"height": 28, "width": 28}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
