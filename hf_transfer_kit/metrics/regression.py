"""Metrics of numbers as ``evaluate.Metric`` modules that load with no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

_NUMBERS = {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}


def _info(description: str) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description, citation="", inputs_description="", features=datasets.Features(_NUMBERS)
    )


class Spearman(evaluate.Metric):
    """Correlation of ranks: ``{"spearman": float in [-1, 1]}``; 0.0 where predictions are all the same.

    Example:
        >>> Spearman().compute(predictions=[1.0, 2.0, 3.0], references=[1.0, 4.0, 9.0])
        {'spearman': 1.0}
    """

    def _info(self) -> evaluate.MetricInfo:
        return _info("Correlation of the ranks of predictions and references.")

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        from scipy.stats import spearmanr

        return {"spearman": _correlation(spearmanr, predictions, references)}


class Pearson(evaluate.Metric):
    """Linear correlation: ``{"pearson": float in [-1, 1]}``; 0.0 where predictions are all the same.

    Example:
        >>> found = Pearson().compute(predictions=[1.0, 2.0, 3.0], references=[3.0, 1.0, 2.0])
        >>> round(found["pearson"], 6)
        -0.5
    """

    def _info(self) -> evaluate.MetricInfo:
        return _info("Linear correlation of predictions and references.")

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        from scipy.stats import pearsonr

        return {"pearson": _correlation(pearsonr, predictions, references)}


class MeanSquaredError(evaluate.Metric):
    """``{"mse": float >= 0}``, in the square of the references' unit.

    Example:
        >>> MeanSquaredError().compute(predictions=[1.0, 2.0], references=[1.0, 4.0])
        {'mse': 2.0}
    """

    def _info(self) -> evaluate.MetricInfo:
        return _info("Mean of squared differences.")

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return {"mse": float(np.mean((np.asarray(predictions) - np.asarray(references)) ** 2))}


def _correlation(measure: Callable[..., Any], predictions: Sequence[float], references: Sequence[float]) -> float:
    if len(predictions) < 2 or np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0  # nothing is told apart
    return float(measure(predictions, references).statistic)
