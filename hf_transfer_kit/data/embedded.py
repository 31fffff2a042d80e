"""Two small real datasets that need no network: ``digits`` and ``digits_m``, made from what scikit-learn ships."""

from __future__ import annotations

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as Pictures

EMBEDDED = ("digits", "digits_m")
"""Datasets that come with the package."""
SIDE = 32
CELL = 64  # side of a photograph's cell; a patch lies within one
_LABELS = [str(digit) for digit in range(10)]
# Share of each split in the rows of its dataset, and in the cells of the photographs.
_SHARES = {"train": 0.55, "validation": 0.15, "test": 0.30}
_SEED = 7


def embedded_data(name: str) -> DatasetDict:
    """One of the embedded datasets, always the same rows, as images of 32 x 32 with their digit.

    Two more columns serve as further tasks: ``parity`` (even or odd) and ``ink``, the mean grey value of the digit as
    it was written, in [0, 1].

    ``digits``: scikit-learn's handwritten digits (Alpaydin & Kaynak 1998), enlarged from 8 x 8, white on black.
    ``digits_m``: digits on photographs, by the recipe of MNIST-M (Ganin et al. 2016): the absolute difference of the
    digit and a random patch, here of scikit-learn's two photographs.

    The two datasets share no digit, their splits share no digit, and the patches of train, validation and test come
    from different cells of a grid over the photographs.

    Raises:
        KeyError: When the name is none of ``EMBEDDED``.

    Example:
        >>> {split: len(rows) for split, rows in embedded_data("digits").items()}
        {'train': 493, 'validation': 134, 'test': 271}
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    labels = digits.target
    source, target = train_test_split(np.arange(len(labels)), test_size=0.5, stratify=labels, random_state=_SEED)
    rows = {"digits": source, "digits_m": target}[name]
    features = Features(
        {
            "image": Image(),
            "label": ClassLabel(names=_LABELS),
            "parity": ClassLabel(names=["even", "odd"]),
            "ink": Value("float32"),
        }
    )
    ink = digits.data.mean(axis=1) / 16
    splits = {}
    cells = _photograph_cells() if name == "digits_m" else {}
    for split, indices in _split_rows(rows, labels).items():
        images = [_enlarged(digits.images[index]) for index in indices]
        if name == "digits_m":
            images = blended(images, cells[split], np.random.default_rng([_SEED, len(split)]))
        splits[split] = Dataset.from_dict(
            {
                "image": [Pictures.fromarray(image) for image in images],
                "label": labels[indices].tolist(),
                "parity": (labels[indices] % 2).tolist(),
                "ink": ink[indices].tolist(),
            },
            features=features,
        )
    return DatasetDict(splits)


def blended(
    images: list[np.ndarray], photographs: list[np.ndarray], generator: np.random.Generator
) -> list[np.ndarray]:
    """Absolute difference of each image and a random patch of a random photograph.

    Args:
        images: Arrays of shape (H, W, 3), uint8.
        photographs: Arrays of shape (h, w, 3), uint8, each at least as large as an image.
        generator: Draws photograph and place.
    """
    result = []
    for image in images:
        photograph = photographs[generator.integers(len(photographs))]
        height, width = image.shape[:2]
        top = generator.integers(photograph.shape[0] - height + 1)
        left = generator.integers(photograph.shape[1] - width + 1)
        patch = photograph[top : top + height, left : left + width]
        result.append(np.abs(patch.astype(np.int16) - image).astype(np.uint8))
    return result


def _enlarged(digit: np.ndarray) -> np.ndarray:
    """A digit of 8 x 8 with values from 0 to 16 as uint8 of shape (SIDE, SIDE, 3)."""
    small = np.round(digit * (255 / 16)).astype(np.uint8)
    grey = np.asarray(Pictures.fromarray(small).resize((SIDE, SIDE), Pictures.Resampling.BICUBIC))
    return np.repeat(grey[:, :, None], 3, axis=2)


def _split_rows(rows: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    from sklearn.model_selection import train_test_split

    held = _SHARES["validation"] + _SHARES["test"]
    train, rest = train_test_split(rows, test_size=held, stratify=labels[rows], random_state=_SEED)
    share = _SHARES["test"] / held
    validation, test = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=_SEED)
    return {"train": train, "validation": validation, "test": test}


def _photograph_cells() -> dict[str, list[np.ndarray]]:
    """Cells of a grid over the two photographs, dealt out to the splits by their shares; none is in two splits."""
    from sklearn.datasets import load_sample_images

    cells = []
    for photograph in load_sample_images().images:
        rows, columns = photograph.shape[0] // CELL, photograph.shape[1] // CELL
        for row, column in np.ndindex(rows, columns):
            cells.append(photograph[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL])
    order = np.random.default_rng(_SEED).permutation(len(cells))
    ends = np.cumsum([round(share * len(cells)) for share in _SHARES.values()])[:-1]
    return {
        split: [cells[index] for index in chosen] for split, chosen in zip(_SHARES, np.split(order, ends), strict=True)
    }
