"""Classification metrics as ``evaluate.Metric`` modules that load with no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.options import check_int

_CLASSES = {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}


def _info(description: str, features: dict[str, object]) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description, citation="", inputs_description="", features=datasets.Features(features)
    )


class Accuracy(evaluate.Metric):
    """Share of rows whose class is right: ``{"accuracy": float in [0, 1]}``.

    Example:
        >>> Accuracy().compute(predictions=[0, 1, 1], references=[0, 1, 2])
        {'accuracy': 0.6666666666666666}
    """

    def _info(self) -> evaluate.MetricInfo:
        return _info("Share of rows whose class is right.", _CLASSES)

    def _compute(self, predictions: Sequence[Any], references: Sequence[int]) -> dict[str, float]:
        from sklearn.metrics import accuracy_score

        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(evaluate.Metric):
    """F1 of each class that occurs, averaged with equal weight: ``{"macro_f1": float in [0, 1]}``.

    Example:
        >>> MacroF1().compute(predictions=[0, 1, 1], references=[0, 1, 0])
        {'macro_f1': 0.6666666666666666}
    """

    def _info(self) -> evaluate.MetricInfo:
        return _info("F1 averaged over classes with equal weight.", _CLASSES)

    def _compute(self, predictions: Sequence[Any], references: Sequence[int]) -> dict[str, float]:
        from sklearn.metrics import f1_score

        return {"macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0.0))}


class BalancedAccuracy(evaluate.Metric):
    """Accuracy within each class that occurs, averaged evenly: ``{"balanced_accuracy": float in [0, 1]}``.

    Example:
        >>> BalancedAccuracy().compute(predictions=[0, 0, 0, 0], references=[0, 0, 0, 1])
        {'balanced_accuracy': 0.5}
    """

    def _info(self) -> evaluate.MetricInfo:
        return _info("Accuracy within each class, averaged with equal weight.", _CLASSES)

    def _compute(self, predictions: Sequence[Any], references: Sequence[int]) -> dict[str, float]:
        from sklearn.metrics import recall_score

        there = np.unique(references)
        value = recall_score(references, predictions, labels=there, average="macro", zero_division=0.0)
        return {"balanced_accuracy": float(value)}


class ConfusionMatrix(evaluate.Metric):
    """Counts by true and predicted class: ``{"confusion_matrix": nested list, [true][predicted]}``.

    Example:
        >>> ConfusionMatrix().compute(predictions=[0, 1, 1], references=[0, 1, 0])
        {'confusion_matrix': [[1, 1], [0, 1]]}
    """

    def _info(self) -> evaluate.MetricInfo:
        return _info("Counts by true and predicted class.", _CLASSES)

    def _compute(
        self, predictions: Sequence[Any], references: Sequence[int], num_labels: int | None = None
    ) -> dict[str, list[list[int]]]:
        from sklearn.metrics import confusion_matrix

        labels = None if num_labels is None else list(range(num_labels))
        return {"confusion_matrix": confusion_matrix(references, predictions, labels=labels).tolist()}


class TopKAccuracy(evaluate.Metric):
    """Share of rows whose class is among the k highest scores: ``{"top_k_accuracy": float in [0, 1]}``.

    ``predictions`` are scores of shape (rows, classes); ``k`` is given to ``compute`` (default 5).

    Example:
        >>> TopKAccuracy().compute(predictions=[[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], references=[1, 0], k=2)
        {'top_k_accuracy': 0.5}
    """

    def _info(self) -> evaluate.MetricInfo:
        scores = datasets.Sequence(datasets.Value("float32"))
        return _info("Share of rows whose class is among the k highest scores.", {**_CLASSES, "predictions": scores})

    def _compute(self, predictions: Sequence[Any], references: Sequence[int], k: int = 5) -> dict[str, float]:
        return {"top_k_accuracy": top_k_share(np.asarray(predictions), np.asarray(references), k)}


def top_k_share(scores: np.ndarray, classes: np.ndarray, k: int) -> float:
    """Share of rows whose class is among the k highest scores; ties count against the row.

    Args:
        scores: Of shape (rows, classes).
        classes: True classes, of shape (rows,).
        k: At least 1.

    Raises:
        SettingsError: When ``k`` is below 1.
        DataError: When a class has no score.
    """
    check_int("top_k_share", "k", k, low=1)
    if scores.ndim != 2 or (len(classes) and not 0 <= classes.min() <= classes.max() < scores.shape[1]):
        raise DataError(
            f"Scores of shape {scores.shape} have no column for each of the classes up to {classes.max(initial=0)}. "
            "Give one score a class."
        )
    own = scores[np.arange(len(classes)), classes]
    at_least = (scores >= own[:, None]).sum(axis=1)
    return float((at_least <= k).mean())
