"""Subspace alignment: principal components of the source turned into those of the target."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.alignment.standardisation import align_standardised
from hf_transfer_kit.features.probe_rows import Features
from hf_transfer_kit.features.row_blocks import row_blocks
from hf_transfer_kit.features.row_sums import block_size, triangular_root
from hf_transfer_kit.options import check_int


def align_subspace(source: Features, target: Features, *, components: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """S X_s X_s^T X_t and T X_t, X the leading principal directions (Fernando et al. 2013), standardised per domain.

    Args:
        source: (S, D).
        target: (T, D).
        components: d, at least 1; fewer where there are not so many rows or features.

    Returns:
        (S, d) and (T, d), float64.

    Raises:
        SettingsError: When ``components`` is out of range.
        DataError: When the domains do not fit each other.

    Example:
        >>> source, aligned = align_subspace(features, target_features, components=2)
        >>> source.shape, aligned.shape
        ((60, 2), (60, 2))
    """
    check_int("subspace", "components", components, low=1)
    source, target = align_standardised(source, target)
    components = min(components, len(source) - 1, len(target) - 1, source.shape[1])
    own, other = _directions(source, components), _directions(target, components)
    return source @ own @ (own.T @ other), target @ other


def _directions(rows: np.ndarray, components: int) -> np.ndarray:
    """Leading principal directions of centred rows, (D, components)."""
    width = rows.shape[1]
    root = triangular_root(row_blocks(rows, block_size(rows, "aligning subspaces", copies=5)), width)
    return np.linalg.svd(root, full_matrices=False)[2][:components].T
