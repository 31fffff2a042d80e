"""A linear classifier on features that are computed already, and the way back into the network's own head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.feature_maps import head_input, logits_layer
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.features.body_fingerprint import body_fingerprint
from hf_transfer_kit.features.cached_features import CachedFeatures
from hf_transfer_kit.features.probe_fitting import KINDS, Fit, cross_validated, fit_all
from hf_transfer_kit.features.probe_rows import Features, LabelledRows, Rows, feature_rows, labelled_rows
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_numbers


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A fitted probe.

    Args:
        kind: ``"logistic"``, ``"ridge"`` or ``"knn"``.
        strength: The chosen regularisation (k for ``"knn"``).
        scores: Strength -> accuracy it was chosen by, in [0, 1]; empty where only one was given and no validation.
        classes: Class of each logit, int64 of shape (C,), rising.
        weight: Of shape (C, D), float32, for features as they are (standardisation is folded in); None for ``"knn"``.
        bias: Of shape (C,), float32; None for ``"knn"``.
        test_accuracy: In [0, 1]; None without test rows. Nothing was chosen by it.
        source: What ``cache_features`` noted about the features; empty for plain arrays.
    """

    kind: str
    strength: float
    scores: Mapping[float, float]
    classes: np.ndarray
    weight: np.ndarray | None
    bias: np.ndarray | None
    test_accuracy: float | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    _fit: Fit | None = field(default=None, repr=False)

    @property
    def validation_accuracy(self) -> float | None:
        """Accuracy of the chosen strength on validation (or over the folds), in [0, 1]."""
        return self.scores.get(self.strength)

    def logits(self, features: Features) -> np.ndarray:
        """Scores of shape (rows, C), float32.

        Raises:
            SettingsError: For ``"knn"``, which has none.
        """
        if self.weight is None:
            raise SettingsError("A k-nearest-neighbour probe has no weights, so no logits; use predict.")
        return feature_rows(features) @ self.weight.T + self.bias

    def predict(self, features: Features) -> np.ndarray:
        """Class of each row, of shape (rows,)."""
        if self.weight is None:
            return cast(Fit, self._fit).predict(feature_rows(features))
        return self.classes[self.logits(features).argmax(axis=1)]

    def accuracy(self, features: Features, labels: Sequence[int] | np.ndarray | None = None) -> float:
        """Share of rows whose class is predicted, in [0, 1].

        Args:
            features: Of shape (rows, D).
            labels: Of shape (rows,); None takes those that were cached with the features.
        """
        rows = labelled_rows(features, labels, name="features")
        return float(np.mean(self.predict(rows.features) == rows.labels))

    def put_into(self, model: nn.Module) -> nn.Module:
        """Writes the probe into the model's last layer, so that the model's own logits are the probe's.

        Works in place; ``model.save_pretrained`` then writes an ordinary checkpoint. Features given as plain arrays are
        trusted to be what enters that layer.

        Returns:
            The model.

        Raises:
            SettingsError: When the probe has no weights, or other classes than the layer.
            ModelError: When the layer reads something else than the features; it is named.
        """
        if self.weight is None:
            raise SettingsError("A k-nearest-neighbour probe has no weights to put into a model; use 'logistic'.")
        name, layer = logits_layer(model)
        self._check_place(model, name, layer)
        if layer.weight.shape != self.weight.shape or not np.array_equal(self.classes, np.arange(len(self.classes))):
            raise SettingsError(
                f"The probe maps {self.weight.shape[1]} features to the classes {self.classes.tolist()}, and {name!r} "
                f"{layer.in_features} to {layer.out_features} logits; classes must be 0, 1, 2, ..., as many as logits. "
                "Call replace_head(model, num_labels) first, and fit the probe on rows of every class."
            )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight))
            layer.bias.copy_(torch.from_numpy(self.bias))
        return model

    def _check_place(self, model: nn.Module, name: str, layer: nn.Linear) -> None:
        entered, module = head_input(model)
        if module is not layer:
            raise ModelError(
                f"The features enter {entered!r}, but the logits come from {name!r} behind it, so a linear probe "
                "cannot take its place. Train the head with Trainer, on features or on the model."
            )
        if layer.bias is None:
            raise ModelError(f"{name!r} has no bias, so the probe's cannot be kept. Use a head with one.")
        if not self.source:
            return
        if self.source["layer"] != "pooled" or self.source["positions"]:
            what = "several positions a row" if self.source["layer"] == "pooled" else "something else"
            raise ModelError(
                f"{name!r} reads {what}, not the features of layer={self.source['layer']!r} that the probe was fitted "
                "on, so the model's logits would not be the probe's. Only features that enter the last layer as they "
                "are can be put back."
            )
        if self.source["body"] != body_fingerprint(plain_model(model)[0]):
            raise ModelError(
                f"The probe was fitted on features of other weights than those of this {type(model).__name__} before "
                f"{name!r}. Put it into the model that cache_features was given, or cache this model's features."
            )


@checked_arguments(own_words_first=True)
def linear_probe(
    features: Features,
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    validation: LabelledRows | None = None,
    test: LabelledRows | None = None,
    kind: str = "logistic",
    strengths: Sequence[float] | None = None,
    seed: int = 0,
) -> LinearProbe:
    """Fits a classifier on features: how far a network carries as it is, in seconds.

    ``"logistic"``: cross-entropy, mean over the rows, plus strength/2 |W|^2 (of two classes, |w_1 - w_0|^2).
    ``"ridge"``: squared error to targets of -1 and 1, mean over the rows, plus strength |W|^2. ``"knn"``: majority of
    the k nearest by cosine. All on features of zero mean and unit variance in the training rows, so that a strength
    means the same for every network.

    The strength with the best accuracy on ``validation`` is taken, of equal ones the strongest (the largest k); without
    validation rows, by up to five stratified folds of the training rows. Training rows alone are fitted. Test rows
    choose nothing.

    ``"ridge"`` reads the rows in blocks within ``memory_limit``; ``"logistic"``, which scikit-learn fits, takes one
    standardised copy of them, and ``"knn"`` keeps one.

    Args:
        features: ``cache_features(...)``, or an array or tensor of shape (rows, D).
        labels: Class of each row, of shape (rows,); None takes those cached with the features.
        validation: Rows to choose the strength by: cached features, or a pair of features and labels.
        test: Rows to report the accuracy of.
        kind: ``"logistic"``, ``"ridge"`` or ``"knn"``.
        strengths: Numbers above 0 to choose from; whole numbers k for ``"knn"``. None takes the kind's own.
        seed: Of the folds.

    Raises:
        SettingsError: When ``kind`` or a strength is not allowed, or a ``memory_limit`` too little.
        DataError: When features and labels do not fit each other, or there are fewer than two classes.

    Example:
        >>> probe = linear_probe(features, labels, test=(features, labels))
        >>> probe.test_accuracy > 0.9
        True
    """
    if kind not in KINDS:
        raise SettingsError(
            f"kind={kind!r} is unknown; choose {', '.join(map(repr, KINDS))}.{did_you_mean(kind, KINDS)}"
        )
    train = labelled_rows(features, labels, name="features", training=True)
    held = None if validation is None else _pair(validation, "validation", train.width)
    tested = None if test is None else _pair(test, "test", train.width)
    strengths = _checked_strengths(kind, strengths, len(train.labels))
    scores: dict[float, float] = {}
    if held is None and len(strengths) > 1:
        scores = cross_validated(kind, strengths, train.features, train.labels, seed=seed)
        strengths = [max(strengths, key=lambda strength: (scores[strength], strength))]
    fits = fit_all(kind, strengths, train.features, train.labels)
    if held is not None:
        scores = {fit.strength: float(np.mean(fit.predict(held.features) == held.labels)) for fit in fits}
    chosen = max(fits, key=lambda fit: (scores.get(fit.strength, 0.0), fit.strength))
    return LinearProbe(
        kind=kind,
        strength=chosen.strength,
        scores=scores,
        classes=chosen.classes,
        weight=chosen.weight,
        bias=chosen.bias,
        test_accuracy=None if tested is None else float(np.mean(chosen.predict(tested.features) == tested.labels)),
        source=dict(features.store.metadata) if isinstance(features, CachedFeatures) else {},
        _fit=chosen,
    )


def _pair(rows: LabelledRows, name: str, width: int) -> Rows:
    if not isinstance(rows, CachedFeatures) and not (isinstance(rows, tuple | list) and len(rows) == 2):
        raise SettingsError(f"{name} is {type(rows).__name__}: give cached features, or a pair of features and labels.")
    features, labels = (rows, None) if isinstance(rows, CachedFeatures) else rows
    return labelled_rows(features, labels, name=name, width=width)


def _checked_strengths(kind: str, strengths: Sequence[float] | None, rows: int) -> list[float]:
    """Strengths from strong to weak, so that each fit begins near its solution."""
    given = KINDS[kind] if strengths is None else check_numbers("The linear probe", "strengths", strengths)
    chosen = sorted(set(given), reverse=True)
    if kind != "knn":
        return [float(strength) for strength in chosen]
    if any(k != int(k) for k in chosen):
        raise SettingsError(f"strengths={strengths!r}: for 'knn' they are numbers of neighbours, whole ones.")
    # Five folds leave four fifths of the rows to be neighbours.
    fitting: list[float] = [int(k) for k in chosen if k <= max(1, rows // 2)]
    if not fitting:
        raise SettingsError(f"strengths={strengths!r}, but of {rows} rows at most {rows // 2} can be asked. Lower k.")
    return fitting
