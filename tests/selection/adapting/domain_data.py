"""Two tiny domains of digits-sized pictures: bright squares tell the class, the target's are inverted and tinted."""

from types import SimpleNamespace

import torch
from torch.utils.data import default_collate

from hf_transfer_kit.data import ClassBalance
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.selection import DANN_MNIST, fresh_network
from hf_transfer_kit.selection.adapting import Domains

NAMES = ("left", "right", "top")
PLACES = {0: (slice(4, 24), slice(2, 10)), 1: (slice(4, 24), slice(18, 26)), 2: (slice(2, 8), slice(4, 24))}


def rows(count: int, seed: int, *, target: bool = False) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.randn(count, 3, 28, 28, generator=generator) - 0.5
    labels = torch.arange(count) % 3
    for image, label in zip(images, labels.tolist(), strict=True):
        image[(slice(None), *PLACES[label])] += 1.0
    if target:
        images = 0.6 * images + torch.tensor([0.3, 0.0, -0.3]).view(1, 3, 1, 1)
    return Rows(images, labels.numpy(), "pixel_values")


def prepared(seed: int, *, target: bool = False) -> SimpleNamespace:
    sizes = {"train": 24, "validation": 12, "test": 15}
    splits = {name: rows(size, seed + i, target=target) for i, (name, size) in enumerate(sizes.items())}
    return SimpleNamespace(
        **splits,
        collator=default_collate,
        modality="image",
        reads="image",
        label_names=NAMES,
        balance=ClassBalance(),
        task_type="classification",
    )


def domains(labelled=("train", "validation", "test")) -> Domains:
    return Domains(prepared(0), prepared(10, target=True), labelled=labelled, pretrained=False)


def network(seed: int):
    return fresh_network(DANN_MNIST, NAMES, seed=seed)
