"""Measured cases for tests of advice."""

from hf_transfer_kit.selection.advice import Case
from hf_transfer_kit.values import CaseMeasures


def measures(rows_per_class=10, probe=0.6, random=0.3, classes=5):
    rows = rows_per_class * classes
    return CaseMeasures(rows, classes, rows_per_class, 1_000, "image", rows, probe, probe - 0.1, random)


def case(rows_per_class=10, *, target="t", family=None, probe=0.6, random=0.3, **accuracy):
    found = {name: (value,) for name, value in accuracy.items()}
    return Case("s", target, family or target, measures(rows_per_class, probe, random), found)
