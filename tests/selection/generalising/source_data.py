"""Tiny sources of digits-sized pictures: bright squares tell the class, each source is tinted its own way."""

import torch
from torch.utils.data import default_collate

from hf_transfer_kit.data import ClassBalance, PreparedData
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.selection import DANN_MNIST, fresh_network
from hf_transfer_kit.selection.generalising import Sources

NAMES = ("left", "right", "top")
PLACES = {0: (slice(4, 24), slice(2, 10)), 1: (slice(4, 24), slice(18, 26)), 2: (slice(2, 8), slice(4, 24))}
TINTS = {"red": (0.5, 0.0, 0.0), "green": (0.0, 0.5, 0.0), "blue": (0.0, 0.0, 0.5), "grey": (-0.3, -0.3, -0.3)}


def rows(count, seed, tint):
    generator = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.randn(count, 3, 28, 28, generator=generator) - 0.5
    labels = torch.arange(count) % 3
    for image, label in zip(images, labels.tolist(), strict=True):
        image[(slice(None), *PLACES[label])] += 1.0
    return Rows(images + torch.tensor(tint).view(1, 3, 1, 1), labels.numpy(), "pixel_values")


def prepared(name, *, sizes=(24, 12, 15), **balance):
    splits = {
        split: rows(size, 10 * len(name) + i, TINTS[name])
        for i, (split, size) in enumerate(zip(("train", "validation", "test"), sizes, strict=True))
    }
    return PreparedData(
        **splits, collator=default_collate, modality="image", label_names=NAMES, balance=ClassBalance(**balance)
    )


def sources(*names, **balance):
    sizes = {"red": (24, 12, 15), "green": (15, 9, 12), "blue": (30, 6, 9)}
    return Sources({name: prepared(name, sizes=sizes[name], **balance) for name in names}, pretrained=False)


def network(seed):
    return fresh_network(DANN_MNIST, NAMES, seed=seed)
