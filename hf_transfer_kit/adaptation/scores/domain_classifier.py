"""A linear classifier that tells the domains' features apart, asked only about rows it has not seen."""

from __future__ import annotations

import warnings

import numpy as np

from hf_transfer_kit.errors import DataError

_FOLDS = 5
_STRENGTH = 0.1


def source_probabilities(source: np.ndarray, target: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probability that a row is of the source, from a logistic regression fitted on the other folds.

    Both domains count equally, whatever their numbers of rows.

    Args:
        source: Features, (S, D), two rows or more.
        target: Features, (T, D), likewise.
        seed: Of the folds.

    Returns:
        (S,) and (T,), in (0, 1).

    Raises:
        DataError: When a domain has fewer than two rows.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(source), len(target)) < 2:
        raise DataError(
            f"The source has {len(source)} rows and the target {len(target)}; telling domains apart needs two or more "
            "of each."
        )
    features = np.concatenate([source, target]).astype(np.float64)
    is_source = np.repeat([1, 0], [len(source), len(target)])
    found = np.empty(len(features))
    folds = StratifiedKFold(min(_FOLDS, len(source), len(target)), shuffle=True, random_state=seed)
    for kept, left_out in folds.split(features, is_source):
        logistic = LogisticRegression(C=1 / (_STRENGTH * len(kept)), class_weight="balanced", max_iter=300)
        model = make_pipeline(StandardScaler(), logistic)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a probability a little off serves as well
            model.fit(features[kept], is_source[kept])
        found[left_out] = model.predict_proba(features[left_out])[:, 1]
    return found[: len(source)], found[len(source) :]
