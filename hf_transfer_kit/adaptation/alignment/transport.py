"""Optimal transport: each source row goes to the mean of the target rows its mass goes to."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.alignment.standardisation import align_standardised
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.probe_rows import Features
from hf_transfer_kit.features.row_blocks import check_held
from hf_transfer_kit.options import check_number

_TABLES = 8
"""Numbers that are held for each pair of rows, POT's included."""


def align_transport(source: Features, target: Features, *, entropy: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Entropic optimal transport with barycentric projection (Courty et al. 2017), on features standardised per domain.

    The plan is POT's (``ot.sinkhorn``), every row of equal mass, with squared distances divided by their median. Time
    and memory grow with S times T, since POT holds tables of all pairs.

    Args:
        source: (S, D).
        target: (T, D).
        entropy: Regularisation, above 0, in units of the median squared distance; smaller is sharper and slower.

    Returns:
        The transported source (S, D) and the standardised target (T, D), float64.

    Raises:
        SettingsError: When ``entropy`` is out of range, ``memory_limit`` too little for tables of all pairs, or POT not
            installed.

    Example:
        >>> import ot  # of the package POT
        >>> source, aligned = align_transport(features, target_features)
        >>> source.shape, aligned.shape
        ((60, 4), (60, 4))
        DataError: When the domains do not fit each other.
    """
    check_number("transport", "entropy", entropy, low=0, above=True)
    try:
        import ot
    except ImportError as error:
        raise SettingsError(
            "Optimal transport needs the package POT, which is missing: pip install 'hf_transfer_kit[transport]', "
            "or choose another method, such as 'coral'."
        ) from error
    source, target = align_standardised(source, target)
    check_held(_TABLES * 8 * len(source) * len(target), f"a transport plan of {len(source)} x {len(target)} rows")
    costs = source @ target.T
    costs *= -2
    costs += np.einsum("nd,nd->n", source, source)[:, None]
    costs += np.einsum("nd,nd->n", target, target)
    np.maximum(costs, 0, out=costs)
    costs /= max(np.median(costs), 1e-12)
    # In the logarithm's domain: sharp plans would underflow.
    plan = ot.sinkhorn(ot.unif(len(source)), ot.unif(len(target)), costs, entropy, method="sinkhorn_log", warn=False)
    return plan @ target / plan.sum(1, keepdims=True), target
