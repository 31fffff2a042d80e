"""A linear classifier that tells the domains' features apart, asked only about rows it has not seen."""

from __future__ import annotations

import warnings

import numpy as np

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.row_blocks import holding, rows_at_once, slices
from hf_transfer_kit.features.row_sums import means_and_spreads, scales

_FOLDS = 5
_STRENGTH = 0.1


def source_probabilities(source: np.ndarray, target: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probability that a row is of the source, from a logistic regression fitted on the other folds.

    Both domains count equally, whatever their numbers of rows. scikit-learn, which fits it, is given one copy of the
    rows of four folds.

    Args:
        source: Features, (S, D), two rows or more.
        target: Features, (T, D), likewise.
        seed: Of the folds.

    Returns:
        (S,) and (T,), in (0, 1).

    Raises:
        DataError: When a domain has fewer than two rows.
        SettingsError: When ``memory_limit`` has no room for that copy.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    if min(len(source), len(target)) < 2:
        raise DataError(
            f"The source has {len(source)} rows and the target {len(target)}; telling domains apart needs two or more "
            "of each."
        )
    count, width = len(source) + len(target), source.shape[1]
    is_source = np.repeat([1, 0], [len(source), len(target)])
    found = np.empty(count)
    folds = StratifiedKFold(min(_FOLDS, len(source), len(target)), shuffle=True, random_state=seed)
    for kept, left_out in folds.split(is_source, is_source):
        logistic = LogisticRegression(C=1 / (_STRENGTH * len(kept)), class_weight="balanced", max_iter=300)
        with holding(8 * len(kept) * (width + 4), f"a standardised copy of {len(kept)} x {width} features"):
            size = rows_at_once(8 * 3 * width, what="telling the domains apart")
            rows = _taken(source, target, kept)
            mean, spread = means_and_spreads(rows, size)
            scale = scales(mean, spread, len(kept))
            rows -= mean
            rows /= scale
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a probability a little off serves as well
                logistic.fit(rows, is_source[kept])
        del rows
        for place in slices(len(left_out), size):
            asked = (_taken(source, target, left_out[place]) - mean) / scale
            found[left_out[place]] = logistic.predict_proba(asked)[:, 1]
    return found[: len(source)], found[len(source) :]


def _taken(source: np.ndarray, target: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of both domains by their number, those of the target behind the source's; rising, float64."""
    of_source = rows[rows < len(source)]
    found = np.empty((len(rows), source.shape[1]))
    found[: len(of_source)] = source[of_source]
    found[len(of_source) :] = target[rows[len(of_source) :] - len(source)]
    return found
