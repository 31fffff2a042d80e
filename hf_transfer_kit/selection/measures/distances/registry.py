"""All distances by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hf_transfer_kit.selection.measures.distances.covariance import covariance_distances
from hf_transfer_kit.selection.measures.distances.frechet import frechet_distances
from hf_transfer_kit.selection.measures.distances.linear_separation import linear_separation
from hf_transfer_kit.selection.measures.distances.mean_discrepancy import mean_discrepancy
from hf_transfer_kit.selection.measures.distances.sliced_wasserstein import sliced_wasserstein


@dataclass(frozen=True)
class Distance:
    """A distance of two sets of rows.

    Args:
        summary: For people.
        measure: Rows of both domains (N, D), deals (P, N) that say whether a row is of the source, and a seed ->
            values (P,). What the deals share is computed once.

    Example:
        >>> def of_means(source, target, deals, seed):
        ...     rows = np.concatenate([source, target])
        ...     return np.array([np.linalg.norm(rows[deal].mean(0) - rows[~deal].mean(0)) for deal in deals])
        >>> Distance("distance of the means", of_means).summary
        'distance of the means'
    """

    summary: str
    measure: Callable[[np.ndarray, np.ndarray, int], np.ndarray]


DISTANCES: dict[str, Distance] = {
    "mmd": Distance(
        "squared maximum mean discrepancy, unbiased", lambda rows, deals, seed: mean_discrepancy(rows, deals)
    ),
    "mmd_biased": Distance(
        "the same over all pairs, as it is trained with",
        lambda rows, deals, seed: mean_discrepancy(rows, deals, biased=True),
    ),
    "proxy_a": Distance(
        "how well a linear classifier tells the domains apart, in [0, 2]",
        lambda rows, deals, seed: linear_separation(rows, deals, seed=seed),
    ),
    "frechet": Distance(
        "squared Wasserstein distance of fitted Gaussians", lambda rows, deals, seed: frechet_distances(rows, deals)
    ),
    "coral": Distance("difference of the covariances", lambda rows, deals, seed: covariance_distances(rows, deals)),
    "sliced_wasserstein": Distance(
        "how far rows must be moved along random directions",
        lambda rows, deals, seed: sliced_wasserstein(rows, deals, seed=seed),
    ),
}
"""Name -> distance."""
