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
from hf_transfer_kit.features.row_blocks import check_held, row_blocks, rows_at_once, slices
from hf_transfer_kit.features.row_sums import block_size, means_and_spreads, products_and_class_sums, scales

KINDS = {
    "logistic": (1e-3, 1e-2, 1e-1, 1.0, 10.0),
    "ridge": (1e-2, 1e-1, 1.0, 1e1, 1e2),
    "knn": (1, 5, 10, 20, 50),
}
"""Kind -> strengths to choose from."""

FOLDS = 5
"""Parts of the rows, each left out once to choose a strength by."""
_MOST_ASKED = 10_000
_ITERATIONS = 500
_SIDE = 2048
"""Rows of the largest block of neighbours."""


@dataclass(frozen=True, eq=False)
class Fit:
    """One classifier, fitted.

    Args:
        strength: What it was regularised with, or k.
        classes: Class of each logit, of shape (C,).
        weight: Of shape (C, D), float32, or None.
        bias: Of shape (C,), float32, or None.
        neighbours: What is asked where there are no weights; of several k the same.
    """

    strength: float
    classes: np.ndarray
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    neighbours: Neighbours | None = None

    def predict(self, features: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
        """Class of each row of (rows, D), or of the chosen ones."""
        if self.weight is None:
            k = int(self.strength)
            return cast(Neighbours, self.neighbours).predict(features, [k], chosen=chosen)[k]
        count, (classes, width) = len(features) if chosen is None else len(chosen), self.weight.shape
        size = rows_at_once(features.itemsize * (width + 2 * classes), what="predicting by a probe")
        found = [
            (features[place if chosen is None else chosen[place]] @ self.weight.T + self.bias).argmax(axis=1)
            for place in slices(count, size)
        ]
        return self.classes[np.concatenate(found)]


def fit_all(
    kind: str,
    strengths: Sequence[float],
    features: np.ndarray,
    labels: np.ndarray,
    *,
    chosen: np.ndarray | None = None,
) -> list[Fit]:
    """One fit a strength.

    Ridge regressions are solved from sums over blocks of rows; logistic ones, which scikit-learn fits, and nearest
    neighbours, which are the rows themselves, hold one standardised copy of the rows.

    Args:
        kind: A key of ``KINDS``.
        strengths: In this order; from strong to weak is fastest.
        features: Of shape (rows, D), finite.
        labels: Of shape (rows,), two classes or more.
        chosen: Which rows to fit, of shape (n,); None for all.
    """
    if kind == "knn":
        nearest = Neighbours(int(max(strengths)), features, labels, chosen=chosen)
        nearest.hold()
        return [Fit(k, nearest.classes, neighbours=nearest) for k in strengths]
    own = labels if chosen is None else labels[chosen]
    solve = _logistic if kind == "logistic" else _ridge
    size = block_size(features, f"a {kind} probe", matrices=5, classes=len(np.unique(own)))
    mean, spread = means_and_spreads(features, size, chosen=chosen)
    rows = _Standardised(features, chosen, mean, scales(mean, spread, len(own)), size)
    return [
        _folded(strength, classes, weight, bias, rows.mean, rows.scale)
        for strength, classes, weight, bias in solve(strengths, rows, own)
    ]


@dataclass(frozen=True, eq=False)
class _Standardised:
    """Chosen rows, less their mean and divided by their spread when they are read.

    Args:
        features: Of shape (rows, D).
        chosen: Which, (n,); None for all.
        mean: (D,).
        scale: (D,), none 0.
        size: Rows of a block.
    """

    features: np.ndarray
    chosen: np.ndarray | None
    mean: np.ndarray
    scale: np.ndarray
    size: int

    def __len__(self) -> int:
        return len(self.features if self.chosen is None else self.chosen)

    def blocks(self, size: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """As ``row_blocks``."""
        return row_blocks(self.features, size or self.size, chosen=self.chosen, shift=self.mean, scale=self.scale)

    def held(self, classes: int) -> np.ndarray:
        """All of them, (n, D), of the features' type.

        Args:
            classes: For which a solver holds three numbers a row.
        """
        width = self.features.shape[1]
        check_held(
            len(self) * (width * self.features.itemsize + 24 * classes),
            f"a standardised copy of {len(self)} x {width} features for scikit-learn",
        )
        found = np.empty((len(self), width), dtype=self.features.dtype)
        for place, block in self.blocks():
            found[place] = block
        return found


def cross_validated(
    kind: str, strengths: Sequence[float], features: np.ndarray, labels: np.ndarray, *, seed: int
) -> dict[float, float]:
    """Strength -> share of rows that were predicted while left out.

    Of more than 10,000 rows nearest neighbours are asked for so many, drawn at random: the error of their accuracy is
    below half a point, and asking for all would take the square of the rows.

    Raises:
        DataError: When no class has two rows.
    """
    folds = stratified_folds(labels, seed)
    if not folds:
        raise DataError(
            "Each class has a single row, so none can be left out to choose the strength by. Give validation=, or one "
            "strength."
        )
    right, asked = dict.fromkeys(strengths, 0), 0
    for left_out in folds:
        kept = np.setdiff1d(np.arange(len(labels)), left_out)
        if kind == "knn":
            left_out = _some(left_out, _MOST_ASKED // len(folds), seed)
        asked += len(left_out)
        if len(np.unique(labels[kept])) < 2:
            continue
        if kind == "knn":
            nearest = Neighbours(int(max(strengths)), features, labels, chosen=kept)
            said = nearest.predict(features, [int(k) for k in strengths], chosen=left_out)
            for k in strengths:
                right[k] += int((said[int(k)] == labels[left_out]).sum())
        else:
            for fit in fit_all(kind, strengths, features, labels, chosen=kept):
                right[fit.strength] += int((fit.predict(features, left_out) == labels[left_out]).sum())
    return {strength: count / max(asked, 1) for strength, count in right.items()}


def stratified_folds(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """Places to leave out, at most ``FOLDS`` parts with all classes in each; none where every class has one row.

    Args:
        labels: Class of each row, of shape (rows,).
        seed: Of the parts.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.unique(labels, return_counts=True)[1]
    if counts.max() < 2:
        return []
    folds = StratifiedKFold(max(2, min(FOLDS, counts.min(), counts.max())), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return [left_out for _, left_out in folds.split(labels, labels)]


def _some(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    return rows if len(rows) <= most else np.random.default_rng(seed).choice(rows, most, replace=False)


_Fitted = tuple[float, np.ndarray, np.ndarray, np.ndarray]
"""Strength, classes, weights and bias of standardised features."""


def _logistic(strengths: Sequence[float], rows: _Standardised, labels: np.ndarray) -> Iterator[_Fitted]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    standard = rows.held(len(np.unique(labels)))
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


def _ridge(strengths: Sequence[float], rows: _Standardised, labels: np.ndarray) -> Iterator[_Fitted]:
    """W = (Z^T Z + n strength I)^-1 Z^T Y, Y being 1 for a row's class and -1 for others, or by Z Z^T of few rows."""
    from scipy.linalg import cho_factor, cho_solve

    classes, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    count, width = len(rows), rows.features.shape[1]
    if count < width:
        _, few = next(rows.blocks(count))
        gram, sides = few @ few.T, (places[:, None] == np.arange(len(classes))).astype(np.float64)
    else:
        gram, sums = products_and_class_sums(rows.blocks(), places, len(classes), width)
        sides = sums.T
    for strength in strengths:
        penalised = gram.copy()
        penalised[np.diag_indices(len(gram))] += strength * count
        # Y = 2 (0 or 1) - 1, and the columns of Z sum to 0.
        weight = 2 * cho_solve(cho_factor(penalised, lower=True, overwrite_a=True), sides)
        yield strength, classes, (few.T @ weight if count < width else weight).T, 2 * counts / count - 1


class Neighbours:
    """Majority of the nearest rows by cosine, of standardised features; of equal counts the first class.

    Rows are read in blocks, of those asked about and of those that answer; no copy is held of either before ``hold``.

    Args:
        most: Neighbours at most that will be asked for.
        features: Of shape (rows, D).
        labels: Of shape (rows,).
        chosen: Which rows answer, of shape (n,); None for all.
    """

    def __init__(
        self, most: int, features: np.ndarray, labels: np.ndarray, *, chosen: np.ndarray | None = None
    ) -> None:
        own = labels if chosen is None else labels[chosen]
        self.classes, places = np.unique(own, return_inverse=True)
        self.places = torch.from_numpy(places)
        self.most = min(most, len(own))
        width = features.shape[1]
        each = 40 * width + 8 * len(self.classes) + 24 * self.most + 4 * _SIDE
        self.size = min(_SIDE, rows_at_once(each, what="the nearest neighbours"))
        self.features, self.chosen, self.held = features, chosen, cast(Tensor | None, None)
        self.mean, spread = means_and_spreads(features, self.size, chosen=chosen)
        self.scale = scales(self.mean, spread, len(own))

    def hold(self) -> None:
        """Keeps a copy, so that answers come at once and stay what they are when the caller's array changes."""
        held = torch.empty(len(self.places), self.features.shape[1])
        for place, unit in zip(
            slices(len(held), self.size), self._unit_blocks(self.features, self.chosen), strict=True
        ):
            held[place] = unit
        self.held, self.features, self.chosen = held, self.features[:0], None

    def predict(
        self, features: np.ndarray, counts: Sequence[int], *, chosen: np.ndarray | None = None
    ) -> dict[int, np.ndarray]:
        """k -> class of each row of (rows, D), or of the chosen ones, from one look at the neighbours."""
        found: dict[int, list[Tensor]] = {k: [] for k in counts}
        for asked in self._unit_blocks(features, chosen):
            voters = self.places[self._nearest(asked)]  # (b, most)
            for k in counts:
                votes = torch.zeros(len(voters), len(self.classes))
                votes.scatter_add_(1, voters[:, :k], torch.ones(len(voters), min(k, self.most)))
                found[k].append(votes.argmax(dim=1))
        return {k: self.classes[torch.cat(parts).numpy()] for k, parts in found.items()}

    def _nearest(self, asked: Tensor) -> Tensor:
        """Places of the most similar rows, (b, most), nearest first."""
        best, places, start = torch.empty(len(asked), 0), torch.empty(len(asked), 0, dtype=torch.int64), 0
        answering = self._unit_blocks(self.features, self.chosen) if self.held is None else self.held.split(self.size)
        for rows in answering:
            near = (asked @ rows.T).topk(min(self.most, len(rows)), dim=1)
            best, places = torch.cat([best, near.values], 1), torch.cat([places, near.indices + start], 1)
            best, order = best.topk(min(self.most, best.shape[1]), dim=1)
            places, start = places.gather(1, order), start + len(rows)
        return places

    def _unit_blocks(self, features: np.ndarray, chosen: np.ndarray | None) -> Iterator[Tensor]:
        for _, block in row_blocks(features, self.size, chosen=chosen, shift=self.mean, scale=self.scale):
            yield functional.normalize(torch.from_numpy(block.astype(np.float32)), dim=1)


def _folded(
    strength: float, classes: np.ndarray, weight: np.ndarray, bias: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> Fit:
    """Weights for features as they are: W (x - mean)/scale + b = (W/scale) x + (b - W mean/scale)."""
    plain = weight.astype(np.float64) / scale  # (C, D)
    shifted = bias.astype(np.float64) - plain @ mean  # (C,)
    return Fit(strength, classes, plain.astype(np.float32), shifted.astype(np.float32))
