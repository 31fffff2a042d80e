"""Adaptation of a frozen network: aligned features and a linear classifier, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hf_transfer_kit.adaptation.alignment.covariance import align_covariance
from hf_transfer_kit.adaptation.alignment.rows import both_domains
from hf_transfer_kit.adaptation.alignment.standardisation import align_standardised
from hf_transfer_kit.adaptation.alignment.subspace import align_subspace
from hf_transfer_kit.adaptation.alignment.transport import align_transport
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features import CachedFeatures, LinearProbe, linear_probe
from hf_transfer_kit.features.probe_rows import Features, LabelledRows
from hf_transfer_kit.options import check_choice

ALIGNMENTS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "none": both_domains,
    "standardised": align_standardised,
    "coral": align_covariance,
    "subspace": align_subspace,
    "transport": align_transport,
}
"""Method -> function (source (S, D), target (T, D)) -> both, aligned."""


@dataclass(frozen=True, eq=False)
class ShallowAdaptation:
    """Aligned features and the classifier fitted on those of the source.

    Args:
        method: A key of ``ALIGNMENTS``.
        probe: Fitted on the aligned source; reads aligned features.
        source: Aligned source features, (S, d).
        target: Aligned target features, (T, d).
        predictions: Class of each target row, (T,).
    """

    method: str
    probe: LinearProbe
    source: np.ndarray
    target: np.ndarray
    predictions: np.ndarray

    def accuracy(self, labels: Sequence[int] | np.ndarray) -> float:
        """Share of target rows whose class is right, in [0, 1]; labels are used for this number alone.

        Args:
            labels: Of the target rows, (T,).

        Raises:
            DataError: When there are more or fewer than target rows.
        """
        labels = np.asarray(labels)
        if labels.shape != self.predictions.shape:
            raise DataError(
                f"{len(self.predictions)} target rows were adapted to, and the labels have the shape {labels.shape}. "
                "Give one class index for each of those rows."
            )
        return float(np.mean(self.predictions == labels))


def shallow_adaptation(
    source: LabelledRows,
    target: Features,
    *,
    method: str = "coral",
    strengths: Sequence[float] | None = None,
    seed: int = 0,
    **options: float,
) -> ShallowAdaptation:
    """Aligns cached features of two domains and fits a logistic regression on the source.

    Args:
        source: Features that were cached with their labels, or a pair of features (S, D) and classes (S,).
        target: Features (T, D); labels cached with them are not read.
        method: ``"none"``, ``"standardised"``, ``"coral"``, ``"subspace"`` or ``"transport"``.
        strengths: Of the regularisation, as in ``linear_probe``; chosen by folds of the source.
        seed: Of those folds.
        options: Of the method: ``ridge`` (coral), ``components`` (subspace), ``entropy`` (transport).

    Returns:
        The classifier, the aligned features and the target's classes.

    Raises:
        SettingsError: When the method is unknown, or an option is out of range.
        DataError: When features and labels, or the domains, do not fit each other.

    Example:
        >>> found = shallow_adaptation((features, labels), target_features, method="coral")
        >>> found.accuracy(labels) > 0.9
        True
    """
    align = ALIGNMENTS[check_choice("shallow_adaptation", "method", method, tuple(ALIGNMENTS))]
    features, labels = (source, source.labels) if isinstance(source, CachedFeatures) else source
    aligned_source, aligned_target = align(features, target, **options)
    probe = linear_probe(aligned_source, labels, strengths=strengths, seed=seed)
    return ShallowAdaptation(method, probe, aligned_source, aligned_target, probe.predict(aligned_target))
