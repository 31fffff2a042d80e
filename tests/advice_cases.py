"""Measured cases for tests of advice."""

import numpy as np

from hf_transfer_kit.selection.advice import Case
from hf_transfer_kit.values import CaseMeasures


def measures(rows_per_class=10, probe=0.6, random=0.3, classes=5):
    rows = rows_per_class * classes
    return CaseMeasures(rows, classes, rows_per_class, 1_000, "image", rows, probe, probe - 0.1, random)


def case(rows_per_class=10, *, target="t", family=None, probe=0.6, random=0.3, **accuracy):
    found = {name: (value,) for name, value in accuracy.items()}
    return Case("s", target, family or target, measures(rows_per_class, probe, random), found)


def tried_case(rows_per_class=10, *, rows=100, noise=0.0, seed=0, target="t", **accuracy):
    """A case with one run of each strategy, whose share of validation rows is off by normal noise and by the rows."""
    generator = np.random.default_rng(seed)
    reached = {name: np.clip(value + noise * generator.normal(), 0, 1) for name, value in accuracy.items()}
    marks = {name: generator.random(rows) < value for name, value in reached.items()}
    return Case(
        "s",
        target,
        target,
        measures(rows_per_class),
        accuracy={name: (value,) for name, value in accuracy.items()},
        validated={name: ("".join("01"[int(mark)] for mark in found),) for name, found in marks.items()},
        early={name: (float(found.mean()),) for name, found in marks.items()},
    )
