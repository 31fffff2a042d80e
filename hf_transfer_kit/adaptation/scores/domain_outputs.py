"""What a trained network says of rows of both domains: all that a score may look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.row_blocks import rows_at_once, slices


@dataclass(frozen=True, eq=False)
class DomainOutputs:
    """Features and logits of rows that were not trained on; no field carries labels of the target.

    Args:
        source_features: (S, D).
        source_logits: (S, C).
        source_labels: (S,), integers.
        target_features: (T, D).
        target_logits: (T, C).

    Raises:
        DataError: When a domain has no rows, or the shapes do not fit each other.
    """

    source_features: np.ndarray
    source_logits: np.ndarray
    source_labels: np.ndarray
    target_features: np.ndarray
    target_logits: np.ndarray

    def __post_init__(self) -> None:
        shapes = {name: np.shape(value) for name, value in vars(self).items()}
        rows = {domain: {shapes[f"{domain}_{part}"][0] for part in parts} for domain, parts in _PARTS.items()}
        fits = all(len(found) == 1 for found in rows.values()) and all(
            shapes[f"source_{part}"][1:] == shapes[f"target_{part}"][1:] for part in ("features", "logits")
        )
        if not fits or 0 in rows["source"] | rows["target"]:
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise DataError(
                f"Scores need one row of features and of logits for each row of both domains, and a label for each of "
                f"the source; found {found}. Pass the same rows to all, one or more of each domain."
            )


_PARTS = {"source": ("features", "logits", "labels"), "target": ("features", "logits")}


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of each row, (N, C), float64."""
    found = np.array(logits, dtype=np.float64)
    found -= found.max(axis=1, keepdims=True)
    np.exp(found, out=found)
    found /= found.sum(1, keepdims=True)
    return found


def probability_blocks(logits: np.ndarray, what: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Softmax of each row, block by block: which of the N rows, and (n, C).

    Args:
        logits: (N, C).
        what: Needs them, for the sentence of a ``memory_limit``.
    """
    for place in slices(len(logits), rows_at_once(8 * 6 * logits.shape[1], what=what)):
        yield place, probabilities(logits[place])


def entropies(rows: np.ndarray) -> np.ndarray:
    """-sum p log p of each row of (..., C), with 0 log 0 = 0."""
    logarithms = np.maximum(rows, 1e-300)
    np.log(logarithms, out=logarithms)
    return -np.einsum("...c,...c->...", rows, logarithms)
