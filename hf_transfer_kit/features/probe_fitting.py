"""Fitting the classifiers of a probe for several strengths of regularisation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_transfer_kit.errors import DataError

KINDS = {
    "logistic": (1e-3, 1e-2, 1e-1, 1.0, 10.0),
    "ridge": (1e-2, 1e-1, 1.0, 1e1, 1e2),
    "knn": (1, 5, 10, 20, 50),
}
"""Kind -> strengths to choose from."""

_FOLDS = 5
_ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class Fit:
    """One classifier, fitted.

    Args:
        strength: What it was regularised with, or k.
        classes: Class of each logit, of shape (C,).
        weight: Of shape (C, D), float32, or None.
        bias: Of shape (C,), float32, or None.
        neighbours: scikit-learn's classifier where there are no weights.
    """

    strength: float
    classes: np.ndarray
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    neighbours: Any = None

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class of each row of (rows, D)."""
        if self.weight is None:
            return self.neighbours.predict(features)
        return self.classes[(features @ self.weight.T + self.bias).argmax(axis=1)]


def fit_all(kind: str, strengths: Sequence[float], features: np.ndarray, labels: np.ndarray) -> list[Fit]:
    """One fit a strength.

    Args:
        kind: A key of ``KINDS``.
        strengths: In this order; from strong to weak is fastest.
        features: Of shape (rows, D), finite.
        labels: Of shape (rows,), two classes or more.
    """
    if kind == "knn":
        return [_neighbours(k, features, labels) for k in strengths]
    scaler = StandardScaler()
    standard = scaler.fit_transform(features)
    solve = _logistic if kind == "logistic" else _ridge
    return [
        _folded(strength, classes, weight, bias, scaler.mean_, scaler.scale_)
        for strength, classes, weight, bias in solve(strengths, standard, labels)
    ]


def cross_validated(
    kind: str, strengths: Sequence[float], features: np.ndarray, labels: np.ndarray, *, seed: int
) -> dict[float, float]:
    """Strength -> share of rows that were predicted while left out.

    Raises:
        DataError: When no class has two rows.
    """
    counts = np.unique(labels, return_counts=True)[1]
    if counts.max() < 2:
        raise DataError(
            "Each class has a single row, so none can be left out to choose the strength by. Give validation=, or one "
            "strength."
        )
    right = dict.fromkeys(strengths, 0)
    folds = StratifiedKFold(max(2, min(_FOLDS, counts.min(), counts.max())), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splits = list(folds.split(features, labels))
    for kept, left_out in splits:
        if len(np.unique(labels[kept])) < 2:
            continue
        for fit in fit_all(kind, strengths, features[kept], labels[kept]):
            right[fit.strength] += int((fit.predict(features[left_out]) == labels[left_out]).sum())
    return {strength: count / len(labels) for strength, count in right.items()}


def _logistic(strengths: Sequence[float], standard: np.ndarray, labels: np.ndarray):
    model = LogisticRegression(warm_start=True, max_iter=_ITERATIONS)
    for strength in strengths:
        # scikit-learn minimises C sum(loss) + |W|^2/2.
        model.set_params(C=1 / (strength * len(labels)))
        with warnings.catch_warnings():
            # A path that ends early in its weak strengths is as good to choose from.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(standard, labels)
        weight, bias = model.coef_.copy(), model.intercept_.copy()
        if len(weight) == 1:  # the logit of the second class against the first: half for, half against
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        yield strength, model.classes_, weight, bias


def _ridge(strengths: Sequence[float], standard: np.ndarray, labels: np.ndarray):
    for strength in strengths:
        model = RidgeClassifier(alpha=strength * len(labels)).fit(standard, labels)
        weight, bias = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
        if len(weight) == 1:
            weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
        yield strength, model.classes_, weight, bias


def _neighbours(k: float, features: np.ndarray, labels: np.ndarray) -> Fit:
    nearest = KNeighborsClassifier(n_neighbors=min(int(k), len(labels)), metric="cosine")
    model = make_pipeline(StandardScaler(), nearest).fit(features, labels)
    return Fit(k, model.classes_, neighbours=model)


def _folded(strength, classes, weight, bias, mean, scale) -> Fit:
    """Weights for features as they are: W (x - mean)/scale + b = (W/scale) x + (b - W mean/scale)."""
    plain = weight.astype(np.float64) / scale  # (C, D)
    shifted = bias.astype(np.float64) - plain @ mean  # (C,)
    return Fit(strength, classes, plain.astype(np.float32), shifted.astype(np.float32))
