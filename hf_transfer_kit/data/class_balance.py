"""Classes of very different numbers of rows: weights in the loss, balanced batches, and what models are chosen by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hf_transfer_kit.data.memory import SomeRows
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.values import LabelledRows, MapRows

METRICS = ("accuracy", "macro_f1", "balanced_accuracy")
"""What a model may be chosen by."""


@dataclass(frozen=True)
class ClassBalance:
    """How classes of different sizes are treated.

    Args:
        weights: ``"balanced"``, each class as if it had as many rows as any (n / (classes * n_c), a mean of 1 over the
            training rows), or class name -> weight, 1 for the others; None weighs all rows alike.
        sampler: ``"balanced"``: rows of small classes are drawn several times, so that all classes come equally often.
        metric: What strategies and runs are chosen by on validation rows.
        margin: tau >= 0 of the logit-adjusted loss (Menon et al. 2021), in training the cross entropy of
            logits + tau * log n_c: a class of few rows is to win by tau * log(n / n_c) more against one of n rows, and
            a class without rows takes no part, so that nothing pushes it down. 0 adjusts nothing.

    Raises:
        SettingsError: When a value is unknown, or both would balance the same rows twice.

    Example:
        >>> balance = ClassBalance(weights="balanced")
        >>> balance.class_weights(np.array([0, 0, 0, 1]), ["cat", "dog"])
        tensor([0.6667, 2.0000])
    """

    weights: str | Mapping[str, float] | None = None
    sampler: str | None = None
    metric: str = "accuracy"
    margin: float = 0.0

    def __post_init__(self) -> None:
        given = self.weights
        if given is not None and not isinstance(given, str) and not (isinstance(given, Mapping) and given):
            raise SettingsError(f"class_weights={self.weights!r} is neither 'balanced' nor class -> weight.")
        if not (self.margin == 0 or _is_weight(self.margin)):
            raise SettingsError(f"margin={self.margin!r} must be a finite number, at least 0.")
        if isinstance(self.weights, str) and self.weights != "balanced":
            raise SettingsError(
                f"class_weights={self.weights!r} is unknown; give 'balanced' or class -> weight."
                f"{did_you_mean(self.weights, ['balanced'])}"
            )
        if isinstance(self.weights, Mapping) and not all(_is_weight(value) for value in self.weights.values()):
            raise SettingsError(f"class_weights={dict(self.weights)} must map classes to finite numbers above 0.")
        if self.sampler not in (None, "balanced"):
            raise SettingsError(
                f"sampler={self.sampler!r} is unknown; give 'balanced' or leave it out."
                f"{did_you_mean(self.sampler, ['balanced'])}"
            )
        if self.metric not in METRICS:
            raise SettingsError(
                f"metric={self.metric!r} is unknown; choose {', '.join(METRICS)}.{did_you_mean(self.metric, METRICS)}"
            )
        if self.weights == "balanced" and self.sampler == "balanced":
            raise SettingsError("Balanced weights and a balanced sampler balance twice: choose one of them.")

    def loss(self, classes: np.ndarray, label_names: Sequence[str]) -> Callable[..., Tensor] | None:
        """A ``compute_loss_func`` for Trainer: weighted, adjusted cross entropy, its mean over rows; None without both.

        Args:
            classes: Class of each training row, of shape (rows,).
            label_names: Names of the classes.

        Raises:
            SettingsError: When a weight is of a class that there is not.
        """
        weights = self.class_weights(classes, label_names)
        added = self._added(classes, len(label_names)) if self.margin else None
        return None if weights is None and added is None else _BalancedLoss(weights, added)

    def class_weights(self, classes: np.ndarray, label_names: Sequence[str]) -> Tensor | None:
        """Weight of each class, float32 of shape (classes,); None without weights. Arguments as in ``loss``."""
        if self.weights is None:
            return None
        counts = np.bincount(classes, minlength=len(label_names))
        if isinstance(self.weights, str):
            values = len(classes) / (max(1, (counts > 0).sum()) * np.maximum(counts, 1))
        else:
            if unknown := [name for name in self.weights if name not in label_names]:
                raise SettingsError(
                    f"class_weights names {', '.join(unknown)}; the classes are {', '.join(label_names)}."
                )
            values = np.array([float(self.weights.get(name, 1.0)) for name in label_names])
        return torch.as_tensor(values, dtype=torch.float32)

    def _added(self, classes: np.ndarray, count: int) -> Tensor:
        """What is added to each logit in training, float32 (classes,): nothing to that of the largest class."""
        rows = torch.from_numpy(np.bincount(classes, minlength=count))
        return (self.margin * torch.log(rows / rows.max())).float()

    def rows(self, rows: LabelledRows, classes: np.ndarray, *, seed: int) -> LabelledRows:
        """The training rows, those of small classes several times where batches are to be balanced."""
        if self.sampler is None:
            return rows
        return SomeRows(rows, balanced_places(classes, seed=seed))

    def shares(self, correct: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
        """What each row adds to the metric, whose value is their mean; None where rows do not add up to it.

        Args:
            correct: Whether each row was right, of shape (rows,).
            classes: Class of each row, of shape (rows,).
        """
        if self.metric == "accuracy":
            return np.asarray(correct, dtype=float)
        if self.metric == "macro_f1":
            return None
        counts = np.bincount(classes)
        return np.asarray(correct) * len(classes) / (np.count_nonzero(counts) * counts[classes])

    @property
    def sentence(self) -> str | None:
        """What it changes, for people; None when nothing."""
        said = []
        if self.weights is not None:
            weights = self.weights if isinstance(self.weights, str) else dict(self.weights)
            said.append(f"the loss weighs classes ({weights})")
        if self.sampler is not None:
            said.append("batches hold all classes equally often")
        if self.margin:
            said.append(
                f"classes of few rows are to win by a margin ({self.margin:g} times the log of the ratio of rows), and "
                "those without rows take no part in the loss"
            )
        if self.metric != "accuracy":
            said.append(f"models are chosen by {self.metric} on validation rows")
        return f"In training {', '.join(said)}." if said else None


def classes_of(rows: MapRows) -> list[int]:
    """Class of each row; inputs are not read where labels can be had alone."""
    label = getattr(rows, "label", None) or (lambda row: rows[row]["labels"])
    return [int(label(row)) for row in range(len(rows))]


def words(metric: str) -> str:
    """A metric's name for people."""
    return {"macro_f1": "macro F1"}.get(metric, metric.replace("_", " "))


def balanced_places(classes: np.ndarray, *, seed: int) -> np.ndarray:
    """Rows in which each class has as many as the largest, of shape (classes * most,).

    Each has whole rounds of its rows, and of the last a drawn part.
    """
    draw = np.random.default_rng(seed)
    most = int(np.bincount(classes).max())
    places = []
    for index in np.unique(classes):
        own = np.flatnonzero(classes == index)
        whole, rest = divmod(most, len(own))
        places += [np.tile(own, whole), draw.choice(own, rest, replace=False)]
    return np.concatenate(places)


class _BalancedLoss:
    def __init__(self, weights: Tensor | None, added: Tensor | None) -> None:
        self.weights = weights
        self.added = added

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"].float()
        if self.added is not None and torch.is_grad_enabled():  # evaluation tells the loss without margins
            logits = logits + self.added.to(logits.device)
        weights = None if self.weights is None else self.weights.to(logits.device)
        losses = F.cross_entropy(logits, labels, weight=weights, reduction="sum")
        # Divided by rows, not by their weights: so the pieces of a batch add up to the whole.
        return losses / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def _is_weight(value: Any) -> bool:
    try:
        return not isinstance(value, (bool, str)) and 0 < float(value) < float("inf")
    except (TypeError, ValueError, OverflowError):
        return False
