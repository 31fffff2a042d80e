"""TransRate: how much shorter features can be written down when their classes are known (Huang et al. 2022)."""

from __future__ import annotations

from functools import partial

import numpy as np

from hf_transfer_kit.features.row_blocks import row_blocks
from hf_transfer_kit.features.row_sums import block_size, means_and_spreads, products


def trans_rate(features: np.ndarray, labels: np.ndarray, *, distortion: float = 1e-4) -> float:
    """R(Z) - sum_c N_c/N R(Z_c), R(Z) = 1/2 log det(I + Z^T Z / (N e)); higher is better.

    Z are the features less their mean, scaled to a mean squared norm of 1, so that the distortion e means the same for
    every network. With fewer rows a class than features it says little: each class then fills what space it can.

    Args:
        features: Of shape (N, D), finite; read in blocks.
        labels: Of shape (N,).
        distortion: e, above 0.

    Returns:
        A number in nats.

    Example:
        >>> trans_rate(features, labels) > 0
        True
    """
    features = np.asarray(features)
    size = block_size(features, "TransRate", copies=3)
    mean, spreads = means_and_spreads(features, size)
    norm = np.sqrt(np.sum(spreads**2))
    if norm <= 0:
        return 0.0
    rate = partial(coding_rate, features, size=size, shift=mean, scale=norm, distortion=distortion)
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.split(np.argsort(places, kind="stable"), np.cumsum(counts)[:-1])
    return float(rate(None) - sum(len(own) / len(features) * rate(own) for own in by_class))


def coding_rate(
    features: np.ndarray,
    chosen: np.ndarray | None,
    *,
    size: int,
    shift: np.ndarray,
    scale: float,
    distortion: float,
) -> float:
    """1/2 log det(I + Z^T Z / (N e)) of the chosen rows, by whichever of Z^T Z and Z Z^T is smaller.

    Args:
        features: (N, D); Z is (features - shift) / scale.
        chosen: Which rows; None for all.
        size: Rows of a block.
        shift: (D,).
        scale: Above 0.
        distortion: e.
    """
    count, width = len(features) if chosen is None else len(chosen), features.shape[1]
    blocks = row_blocks(features, max(size, count) if count < width else size, chosen=chosen, shift=shift, scale=scale)
    if count < width:  # one block, smaller than Z^T Z
        _, block = next(blocks)
        gram = block @ block.T
    else:
        gram = products(blocks, width)
    gram /= count * distortion
    gram[np.diag_indices(len(gram))] += 1
    return 0.5 * float(np.linalg.slogdet(gram)[1])
