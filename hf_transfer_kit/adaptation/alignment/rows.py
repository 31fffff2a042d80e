"""Features of two domains as arrays that fit each other."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.probe_rows import Features, feature_rows


def both_domains(source: Features, target: Features) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays (S, D) and (T, D) that may be written to: the two parts of ``joined_domains``.

    Raises:
        DataError: When one is empty, not finite, no rows of numbers, or of another width than the other.
    """
    rows, sources = joined_domains(source, target)
    return rows[:sources], rows[sources:]


def joined_domains(source: Features, target: Features) -> tuple[np.ndarray, int]:
    """The one copy of both domains' rows, float64 (S + T, D), the source first, and S.

    Raises:
        DataError: When one is empty, not finite, no rows of numbers, or of another width than the other.
    """
    arrays = []
    for name, features in (("source", source), ("target", target)):
        rows = feature_rows(features)
        if len(rows) < 2:
            raise DataError(
                f"The {name} has {len(rows)} rows of features; aligning or comparing domains needs two or more of each."
            )
        arrays.append(rows)
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise DataError(
            f"The source has {arrays[0].shape[1]} features a row and the target {arrays[1].shape[1]}. Take both from "
            "the same layer of the same network."
        )
    return np.concatenate(arrays, dtype=np.float64), len(arrays[0])
