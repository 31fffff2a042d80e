"""The best last layer for given features: regularised regressions in closed form or by scikit-learn, for every kind of
label that has one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, log_softmax

from hf_transfer_kit.features.probe_fitting import FOLDS, stratified_folds

STRENGTHS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Strengths of regularisation to choose from, from strong to weak, so that each fit begins near its solution."""
WITHOUT_A_CHOICE = 1.0
"""The strength where no row can be left out to choose by."""
FEW = 20
"""With fewer rows to choose by, parts of the training rows are left out instead."""

_ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer, fitted.

    Args:
        weight: Of shape (C, D), float32, for features as they are.
        bias: Of shape (C,), float32.
        strength: What it was regularised with.
        losses: Strength -> mean loss that it was chosen by; empty where there was no choice.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    losses: Mapping[float, float] = field(default_factory=dict)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Logits (N, C) of features (N, D)."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows of features with their labels.

    Args:
        features: Of shape (N, D), float32 or float64.
        labels: Classes (N,), or of shape (N, C) numbers, or 0 and 1; NaN where one is not known.
    """

    features: np.ndarray
    labels: np.ndarray

    def at(self, places: np.ndarray) -> Labelled:
        """Some of the rows."""
        return Labelled(self.features[places], self.labels[places])


def layer_of_classes(
    rows: Labelled,
    count: int,
    *,
    held: Labelled | None = None,
    weights: np.ndarray | None = None,
    bias: bool = True,
    seed: int = 0,
) -> Layer:
    """Multinomial logistic regression: cross entropy, a mean over rows, plus strength/2 (|W|^2 + |b|^2).

    Features are divided by their spread, which is drawn half way to the mean spread of all: with few rows single
    spreads are known badly. They are not centred, and the bias is held as the weights are, so that few rows do not
    decide which class is frequent. Of the strengths the one with the smallest loss on the held rows is taken: one that
    names as many classes rightly and is too sure of itself is a worse beginning. A class without training rows has
    weights of 0 and loses against every other.

    Args:
        rows: To fit, with classes in [0, count).
        count: C.
        held: To choose the strength by; None leaves out folds of the rows.
        weights: Of each class in both losses, (C,); None weighs rows alike.
        bias: Whether there is one; else it is 0.
        seed: Of the folds.
    """
    weights = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)

    def loss(layer: Layer, of: Labelled) -> tuple[float, float]:
        own, chance = weights[of.labels], log_softmax(layer(of.features), axis=1)
        return -float(own @ chance[np.arange(len(own)), of.labels]), float(own.sum())

    def fit(part: Labelled, strengths: Sequence[float]) -> Iterator[Layer]:
        return _logistic(part, count, weights, strengths, bias=bias)

    return _chosen(fit, loss, rows, held, stratified_folds(rows.labels, seed))


def layer_of_labels(rows: Labelled, *, held: Labelled | None = None, seed: int = 0) -> Layer:
    """One logistic regression a label, against all rows that do not have it; one strength for all.

    Features are centred and divided as for classes; the bias is free. A label that all rows have, or none, is named as
    often as there: weights of 0, and the logarithm of its odds with half a row more on each side.

    Args:
        rows: Labels 0 or 1, NaN where that is not known, (N, C).
        held: As for classes.
        seed: Of the folds.
    """

    def loss(layer: Layer, of: Labelled) -> tuple[float, float]:
        known, chance = ~np.isnan(of.labels), expit(layer(of.features))
        said = np.log(np.clip(np.where(of.labels == 1, chance, 1 - chance), 1e-12, None))
        return -float(said[known].sum()), float(known.sum())

    return _chosen(_one_against_rest, loss, rows, held, _folds(len(rows.labels), seed))


def layer_of_numbers(rows: Labelled, *, held: Labelled | None = None, seed: int = 0) -> Layer:
    """Ridge regression: squared error in units of each number's spread, a mean over rows, plus strength |W|^2.

    Features are centred and divided as for classes; the bias is free.

    Args:
        rows: Labels are numbers, NaN where one is not known, (N, C).
        held: As for classes.
        seed: Of the folds.
    """
    unit = _spread(np.nanstd(rows.labels, axis=0))

    def loss(layer: Layer, of: Labelled) -> tuple[float, float]:
        errors = ((layer(of.features) - of.labels) / unit) ** 2
        return float(np.nansum(errors)), float((~np.isnan(of.labels)).sum())

    return _chosen(_ridge, loss, rows, held, _folds(len(rows.labels), seed))


_Fit = Callable[[Labelled, Sequence[float]], Iterator[Layer]]
_Loss = Callable[[Layer, Labelled], tuple[float, float]]
"""Sum, and how much it is of."""


def _chosen(fit: _Fit, loss: _Loss, rows: Labelled, held: Labelled | None, folds: list[np.ndarray]) -> Layer:
    """The layer of the best strength, fitted to all rows; ``folds`` are places to leave out where none are held."""
    parts: list[tuple[Labelled, Labelled]] = []
    if held is not None and len(held.labels) >= FEW:
        parts = [(rows, held)]
    else:
        for left_out in folds:
            kept = np.setdiff1d(np.arange(len(rows.labels)), left_out)
            parts.append((rows.at(kept), rows.at(left_out)))
    if not parts:
        return next(fit(rows, [WITHOUT_A_CHOICE]))
    sums = {strength: np.zeros(2) for strength in STRENGTHS}
    fitted: dict[float, Layer] = {}
    for part, judging in parts:
        for layer in fit(part, STRENGTHS):
            sums[layer.strength] += loss(layer, judging)
            fitted[layer.strength] = layer
    losses = {strength: float(total / max(count, 1)) for strength, (total, count) in sums.items()}
    best = min(losses, key=lambda strength: (losses[strength], -strength))
    if len(parts) > 1:
        fitted = {best: next(fit(rows, [best]))}
    return Layer(fitted[best].weight, fitted[best].bias, best, losses)


def _logistic(
    rows: Labelled, count: int, weights: np.ndarray, strengths: Sequence[float], *, bias: bool
) -> Iterator[Layer]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scale = _drawn_spread(rows.features)
    plain = np.concatenate([rows.features / scale, np.full((len(rows.labels), 1), float(bias))], axis=1)
    seen, each = np.unique(rows.labels), weights[rows.labels]
    model = LogisticRegression(warm_start=True, max_iter=_ITERATIONS, fit_intercept=False)
    for strength in strengths:
        found = np.zeros((count, plain.shape[1]))
        found[:, -1] = -np.log(len(rows.labels) + 1)
        if len(seen) > 1:
            model.set_params(C=1 / (strength * each.sum()))  # scikit-learn minimises C sum(loss) + |W|^2/2
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a path that ends early is as good to choose from
                model.fit(plain, rows.labels, sample_weight=each)
            own = model.coef_
            found[seen] = own if len(own) > 1 else np.concatenate([-own, own]) / 2
        else:
            found[seen] = 0
        yield _layer(found[:, :-1] / scale, found[:, -1] * bias, strength)


def _one_against_rest(rows: Labelled, strengths: Sequence[float]) -> Iterator[Layer]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, scale = rows.features.mean(0), _drawn_spread(rows.features)
    plain = (rows.features - mean) / scale
    models = [LogisticRegression(warm_start=True, max_iter=_ITERATIONS) for _ in rows.labels.T]
    for strength in strengths:
        weight, bias = np.zeros((len(models), plain.shape[1])), np.zeros(len(models))
        for place, (model, labels) in enumerate(zip(models, rows.labels.T, strict=True)):
            known = ~np.isnan(labels)
            have, count = labels[known].sum(), known.sum()
            if not 0 < have < count:
                bias[place] = np.log((have + 0.5) / (count - have + 0.5))
                continue
            model.set_params(C=1 / (strength * count))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(plain[known], labels[known])
            weight[place], bias[place] = model.coef_[0], model.intercept_[0]
        weight /= scale
        yield _layer(weight, bias - weight @ mean, strength)


def _ridge(rows: Labelled, strengths: Sequence[float]) -> Iterator[Layer]:
    """W = (Z^T Z + n strength I)^-1 Z^T Y for each number on the rows where it is known, by the smaller Gram matrix."""
    width, targets = rows.features.shape[1], rows.labels.T
    scale = _drawn_spread(rows.features)
    weights, biases = np.zeros((len(strengths), len(targets), width)), np.zeros((len(strengths), len(targets)))
    known_alike: dict[bytes, list[int]] = {}
    for place, labels in enumerate(targets):
        known_alike.setdefault((~np.isnan(labels)).tobytes(), []).append(place)
    for mask, places in known_alike.items():
        known = np.frombuffer(mask, dtype=bool)
        if not known.any():
            continue
        features, labels = rows.features[known].astype(np.float64), targets[places][:, known].T
        mean, level = features.mean(0), labels.mean(0)
        plain, wanted = (features - mean) / scale, labels - level
        few = len(plain) < width
        values, vectors = np.linalg.eigh(plain @ plain.T if few else plain.T @ plain)
        sides = vectors.T @ (wanted if few else plain.T @ wanted)
        for index, strength in enumerate(strengths):
            solved = vectors @ (sides / (values + strength * len(plain))[:, None])
            weight = (plain.T @ solved if few else solved).T / scale
            weights[index, places], biases[index, places] = weight, level - weight @ mean
    for index, strength in enumerate(strengths):
        yield _layer(weights[index], biases[index], strength)


def _layer(weight: np.ndarray, bias: np.ndarray, strength: float) -> Layer:
    return Layer(weight.astype(np.float32), bias.astype(np.float32), strength)


def _drawn_spread(features: np.ndarray) -> np.ndarray:
    """What features are divided by, (D,): the root of the mean of their variance and that of all features."""
    variances = features.astype(np.float64).var(0)
    return _spread(np.sqrt((variances + variances.mean()) / 2))


def _spread(spread: np.ndarray) -> np.ndarray:
    return np.where(spread > 0, spread, 1.0)


def _folds(count: int, seed: int) -> list[np.ndarray]:
    order = np.random.default_rng(seed).permutation(count)
    return list(np.array_split(order, min(FOLDS, count))) if count > 1 else []
