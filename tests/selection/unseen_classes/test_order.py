"""Which method is chosen: by harmonic means that can be told apart, else by accuracy among the pseudo-unseen classes."""

from dataclasses import replace

import pytest
from reports.zero_shot_case import split

from hf_transfer_kit.selection.unseen_classes.order import in_order
from hf_transfer_kit.values import ZeroShotResult


def result(name, harmonic, unseen):
    splits = [replace(split(0.1), pseudo_harmonic=one, pseudo_unseen=unseen) for one in harmonic]
    return ZeroShotResult(name, "", "attributes", tuple(splits), 1.0)


@pytest.mark.parametrize(
    ("given", "order"),
    [
        # Clearly apart on every split: by the harmonic mean.
        ([("a", [0.6, 0.7, 0.8], 0.5), ("b", [0.5, 0.6, 0.71], 0.9)], "ab"),
        # A hundredth apart on the mean, with gaps of both signs: by the accuracy among the pseudo-unseen classes.
        ([("a", [0.6, 0.7, 0.8], 0.5), ("b", [0.67, 0.6, 0.8], 0.9)], "ba"),
        ([("a", [0.6, 0.7, 0.8], 0.9), ("b", [0.67, 0.6, 0.8], 0.5)], "ab"),
        # One split tells no error: the better one.
        ([("a", [0.60], 0.5), ("b", [0.61], 0.4)], "ba"),
        # Levels are with the best of those that are left.
        ([("a", [0.6, 0.7, 0.8], 0.5), ("b", [0.3, 0.4, 0.4], 0.7), ("c", [0.31, 0.36, 0.41], 0.8)], "acb"),
    ],
)
def test_the_order_is_that_of_the_seen_classes(given, order):
    for turn in (given, given[::-1]):
        assert "".join(found.method for found in in_order([result(*each) for each in turn])) == order
