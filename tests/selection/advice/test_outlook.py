"""Expected differences from near cases: by hand, and far away."""

import math

import numpy as np
import pytest
from advice_cases import case, measures

from hf_transfer_kit.selection.advice import outlook
from hf_transfer_kit.selection.advice.outlook import nearness, place


def test_a_case_lies_by_its_size_its_known_share_and_its_gain():
    found = measures(100, probe=0.6, random=0.3)
    assert place(found) == pytest.approx([2.0, (0.6 - 0.2) / 0.8, 0.6])
    assert (found.rows_per_class, found.gain, found.slope) == pytest.approx((100, 0.3, 0.1))


def test_differences_are_means_weighted_by_nearness():
    near, far = case(10, full=0.5, head_only=0.7), case(1_000, full=0.8, head_only=0.6)
    asked = measures(30)
    distances = [math.log10(3), math.log10(1_000 / 30)]
    weights = np.exp(-np.square(distances) / (2 * 0.8**2))
    assert nearness(asked, [near, far], 0.8) == pytest.approx(weights)
    expected = (weights[0] * 0.2 + weights[1] * -0.2) / weights.sum()
    found = outlook(asked, [near, far], 0.8)
    assert found[0].strategy == "head_only"
    assert found[0].difference == pytest.approx(expected)
    assert found[1].difference == 0.0  # full against itself
    shares = weights / weights.sum()
    effective = 1 / (shares**2).sum()
    variance = shares @ (np.array([0.2, -0.2]) - expected) ** 2
    assert found[0].error == pytest.approx(math.sqrt((variance + 0.05**2 / effective) / effective))


def test_far_from_all_cases_the_nearest_decides():
    cases = [case(2, full=0.5, head_only=0.9), case(10, full=0.5, head_only=0.1)]
    found = outlook(measures(100_000), cases, 0.01)
    assert found[0].strategy == "full"
    assert found[1].difference == pytest.approx(-0.4)
    assert np.isfinite([entry.error for entry in found]).all()


def test_a_strategy_that_some_case_lacks_is_not_advised():
    cases = [case(full=0.5, head_only=0.6), case(full=0.5, head_only=0.6, lora=0.9)]
    assert {entry.strategy for entry in outlook(measures(), cases, 0.5)} == {"full", "head_only"}
