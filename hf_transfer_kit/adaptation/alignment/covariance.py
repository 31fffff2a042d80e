"""CORAL: the source gets the target's covariance."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.alignment.standardisation import align_standardised
from hf_transfer_kit.features.probe_rows import Features
from hf_transfer_kit.features.row_blocks import check_held, slices
from hf_transfer_kit.features.row_sums import block_size
from hf_transfer_kit.options import check_number


def align_covariance(
    source: Features, target: Features, *, ridge: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """CORAL (Sun, Feng and Saenko 2016): source C_s^(-1/2) C_t^(1/2), on features standardised per domain.

    C = covariance + ridge * I, so that directions which few rows show are hardly changed.

    Args:
        source: (S, D).
        target: (T, D).
        ridge: Above 0. By default 10 max(1, D / rows of the smaller domain): the covariance of some hundred or thousand
            rows is noise in most directions, and the paper's 1 lost against standardised features on texts.

    Returns:
        The recoloured source (S, D) and the standardised target (T, D), float64.

    Raises:
        SettingsError: When ``ridge`` is out of range.
        DataError: When the domains do not fit each other.

    Example:
        >>> source, aligned = align_covariance(features, target_features)
        >>> source.shape, bool(np.allclose(source, aligned))
        ((60, 4), True)
    """
    source, target = align_standardised(source, target)
    if ridge is None:
        ridge = 10 * max(1.0, source.shape[1] / min(len(source), len(target)))
    check_number("coral", "ridge", ridge, low=0, above=True)
    colours = _power(source, ridge, -0.5) @ _power(target, ridge, 0.5)
    for place in slices(len(source), block_size(source, "aligning covariances", matrices=0)):
        source[place] = source[place] @ colours
    return source, target


def _power(rows: np.ndarray, ridge: float, exponent: float) -> np.ndarray:
    """(rows^T rows / (N - 1) + ridge I)^exponent for centred rows, (D, D)."""
    check_held(4 * 8 * rows.shape[1] ** 2, "aligning covariances")
    values, vectors = np.linalg.eigh(rows.T @ rows / (len(rows) - 1))
    return (vectors * (np.maximum(values, 0) + ridge) ** exponent) @ vectors.T
