"""Fitting the classifiers of a probe for several strengths of regularisation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.errors import DataError

KINDS = {
    "logistic": (1e-3, 1e-2, 1e-1, 1.0, 10.0),
    "ridge": (1e-2, 1e-1, 1.0, 1e1, 1e2),
    "knn": (1, 5, 10, 20, 50),
}
"""Kind -> strengths to choose from."""

_FOLDS = 5
_MOST_ASKED = 10_000
_BLOCK = 2**24
"""Similarities that are held at once: 64 MiB."""
_ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class Fit:
    """One classifier, fitted.

    Args:
        strength: What it was regularised with, or k.
        classes: Class of each logit, of shape (C,).
        weight: Of shape (C, D), float32, or None.
        bias: Of shape (C,), float32, or None.
        neighbours: What is asked where there are no weights.
    """

    strength: float
    classes: np.ndarray
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    neighbours: Neighbours | None = None

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class of each row of (rows, D)."""
        if self.weight is None:
            nearest = cast(Neighbours, self.neighbours)
            return nearest.predict(features, [nearest.most])[nearest.most]
        return self.classes[(features @ self.weight.T + self.bias).argmax(axis=1)]


def fit_all(kind: str, strengths: Sequence[float], features: np.ndarray, labels: np.ndarray) -> list[Fit]:
    """One fit a strength.

    Args:
        kind: A key of ``KINDS``.
        strengths: In this order; from strong to weak is fastest.
        features: Of shape (rows, D), finite.
        labels: Of shape (rows,), two classes or more.
    """
    from sklearn.preprocessing import StandardScaler

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

    Of more than 10,000 rows nearest neighbours are asked for so many, drawn at random: the error of their accuracy is
    below half a point, and asking for all would take the square of the rows.

    Raises:
        DataError: When no class has two rows.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.unique(labels, return_counts=True)[1]
    if counts.max() < 2:
        raise DataError(
            "Each class has a single row, so none can be left out to choose the strength by. Give validation=, or one "
            "strength."
        )
    right, asked = dict.fromkeys(strengths, 0), 0
    folds = StratifiedKFold(max(2, min(_FOLDS, counts.min(), counts.max())), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splits = list(folds.split(features, labels))
    for kept, left_out in splits:
        if kind == "knn":
            left_out = _some(left_out, _MOST_ASKED // len(splits), seed)
        asked += len(left_out)
        if len(np.unique(labels[kept])) < 2:
            continue
        if kind == "knn":
            nearest = Neighbours(int(max(strengths)), features[kept], labels[kept])
            said = nearest.predict(features[left_out], [int(k) for k in strengths])
            for k in strengths:
                right[k] += int((said[int(k)] == labels[left_out]).sum())
        else:
            for fit in fit_all(kind, strengths, features[kept], labels[kept]):
                right[fit.strength] += int((fit.predict(features[left_out]) == labels[left_out]).sum())
    return {strength: count / max(asked, 1) for strength, count in right.items()}


def _some(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    return rows if len(rows) <= most else np.random.default_rng(seed).choice(rows, most, replace=False)


_Fitted = tuple[float, np.ndarray, np.ndarray, np.ndarray]
"""Strength, classes, weights and bias of standardised features."""


def _logistic(strengths: Sequence[float], standard: np.ndarray, labels: np.ndarray) -> Iterator[_Fitted]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

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


def _ridge(strengths: Sequence[float], standard: np.ndarray, labels: np.ndarray) -> Iterator[_Fitted]:
    from sklearn.linear_model import RidgeClassifier

    for strength in strengths:
        model = RidgeClassifier(alpha=strength * len(labels)).fit(standard, labels)
        weight, bias = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
        if len(weight) == 1:
            weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
        yield strength, model.classes_, weight, bias


class Neighbours:
    """Majority of the nearest rows by cosine, of standardised features; of equal counts the first class.

    Args:
        most: Neighbours at most that will be asked for.
        features: Of shape (rows, D).
        labels: Of shape (rows,).
    """

    def __init__(self, most: int, features: np.ndarray, labels: np.ndarray) -> None:
        from sklearn.preprocessing import StandardScaler

        self.scaler = StandardScaler().fit(features)
        self.classes, places = np.unique(labels, return_inverse=True)
        self.places = torch.from_numpy(places)
        self.most = min(most, len(labels))
        self.rows = self._unit(features)

    def predict(self, features: np.ndarray, counts: Sequence[int]) -> dict[int, np.ndarray]:
        """k -> class of each row of (rows, D), from one look at the neighbours, in blocks of bounded memory."""
        asked = self._unit(features)
        block = max(1, _BLOCK // len(self.rows))
        found: dict[int, list[Tensor]] = {k: [] for k in counts}
        for start in range(0, len(asked), block):
            near = (asked[start : start + block] @ self.rows.T).topk(self.most, dim=1).indices
            voters = self.places[near]  # (b, most)
            for k in counts:
                votes = torch.zeros(len(voters), len(self.classes))
                votes.scatter_add_(1, voters[:, :k], torch.ones(len(voters), min(k, self.most)))
                found[k].append(votes.argmax(dim=1))
        return {k: self.classes[torch.cat(parts).numpy()] for k, parts in found.items()}

    def _unit(self, features: np.ndarray) -> Tensor:
        rows = torch.from_numpy(self.scaler.transform(features).astype(np.float32))
        return functional.normalize(rows, dim=1)


def _neighbours(k: float, features: np.ndarray, labels: np.ndarray) -> Fit:
    nearest = Neighbours(int(k), features, labels)
    return Fit(k, nearest.classes, neighbours=nearest)


def _folded(
    strength: float, classes: np.ndarray, weight: np.ndarray, bias: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> Fit:
    """Weights for features as they are: W (x - mean)/scale + b = (W/scale) x + (b - W mean/scale)."""
    plain = weight.astype(np.float64) / scale  # (C, D)
    shifted = bias.astype(np.float64) - plain @ mean  # (C,)
    return Fit(strength, classes, plain.astype(np.float32), shifted.astype(np.float32))
