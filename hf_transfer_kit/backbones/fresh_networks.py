"""Small networks that begin with random weights, named in place of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import (
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    ViTImageProcessor,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
)

from hf_transfer_kit.backbones.auto_classes import TASK_CLASSES, task_class
from hf_transfer_kit.backbones.dann_mnist import DannMnistConfig
from hf_transfer_kit.backbones.new_heads import transcript_settings
from hf_transfer_kit.task_types import CLASSIFICATION

DANN_MNIST = "dann_mnist"
"""Name of the small network of the DANN paper, with random weights."""


@dataclass(frozen=True)
class FreshNetwork:
    """A network and how its inputs are prepared.

    Args:
        summary: One line for people.
        config: Makes its configuration, given the classes.
        auto: The Auto class of its classifier.
        processor: Makes its processor.
    """

    summary: str
    config: Callable[..., PreTrainedConfig]
    auto: Any
    processor: Callable[[], object]


def _images(side: int) -> ViTImageProcessor:
    return ViTImageProcessor(size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def _pictures(summary: str, config: Callable[..., PreTrainedConfig], side: int) -> FreshNetwork:
    return FreshNetwork(summary, config, AutoModelForImageClassification, partial(_images, side))


FRESH_NETWORKS: Mapping[str, FreshNetwork] = {
    DANN_MNIST: _pictures(
        "the DANN paper's network for digits with BatchNorm", partial(DannMnistConfig, batch_norm=True), 28
    ),
    "dann_mnist_paper": _pictures("the same as in the paper, without BatchNorm", DannMnistConfig, 28),
    "dann_mnist_3x3": _pictures(
        "three convolutions of 3 x 3 on digits normalised one by one, 2.5 times as slow",
        partial(
            DannMnistConfig,
            batch_norm=True,
            instance_norm=True,
            widths=(32, 64, 128),
            kernel_size=3,
            padding=1,
            hidden=(128,),
        ),
        28,
    ),
    "dann_mnist_deep": _pictures(
        "five convolutions of 3 x 3 on digits normalised one by one, twice as slow again",
        partial(
            DannMnistConfig,
            batch_norm=True,
            instance_norm=True,
            widths=(32, 48, 64, 96, 128),
            pooled=(1, 3, 5),
            kernel_size=3,
            padding=1,
            hidden=(128,),
        ),
        28,
    ),
    "small_resnet": _pictures(
        "a residual network of 0.7 M weights for images, or spectrograms, of 64 x 64",
        partial(
            ResNetConfig,
            embedding_size=24,
            hidden_sizes=[24, 48, 96, 192],
            depths=[1, 1, 1, 1],
            layer_type="basic",
        ),
        64,
    ),
    "small_wav2vec2": FreshNetwork(
        "convolutions and a transformer of 0.4 M weights on waves of 8 kHz, 50 frames a second",
        partial(
            Wav2Vec2Config,
            conv_dim=(64, 64, 64, 64),
            conv_kernel=(10, 8, 8, 4),
            conv_stride=(5, 4, 4, 2),
            feat_extract_norm="layer",
            hidden_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=192,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            classifier_proj_size=96,
            layerdrop=0.0,
            apply_spec_augment=False,
        ),
        AutoModelForAudioClassification,
        partial(Wav2Vec2FeatureExtractor, sampling_rate=8_000, return_attention_mask=True),
    ),
}
"""Name, in place of a checkpoint's -> network."""


def fresh_network(
    name: str, label_names: Sequence[str], *, seed: int = 0, task_type: str = CLASSIFICATION
) -> PreTrainedModel:
    """A network of ``FRESH_NETWORKS`` with random weights.

    Args:
        name: Which.
        label_names: Names of the classes.
        seed: Of the weights; the global state is not touched.
        task_type: What the classes are of, as in ``load_model``.

    Raises:
        ModelError: When the architecture has no class for the type.

    Example:
        >>> network = fresh_network("dann_mnist", ["cat", "dog"], seed=0)
        >>> network.config.num_labels
        2
    """
    names = dict(enumerate(label_names))
    network = FRESH_NETWORKS[name]
    config = network.config(id2label=names, label2id={label: index for index, label in names.items()})
    auto = network.auto
    if task_type in TASK_CLASSES:
        auto = task_class(config, name, task_type)
    if task_type == "ctc":
        config.update(transcript_settings(len(names)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return auto.from_config(config)


def fresh_processor(name: str) -> object:
    """The processor of a network of ``FRESH_NETWORKS``.

    Example:
        >>> fresh_processor("dann_mnist").size["height"]
        28
    """
    return FRESH_NETWORKS[name].processor()
