import numpy as np
import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.contest.bootstrap import accuracy_interval, paired_bootstrap, runs_interval


def test_equals_the_normal_interval_for_many_rows():
    generator = np.random.default_rng(0)
    first, second = generator.random((1, 2000)) < 0.8, generator.random((1, 2000)) < 0.7
    difference, low, high = paired_bootstrap(first, second)
    paired = first[0].astype(float) - second[0]
    standard_error = paired.std() / np.sqrt(len(paired))
    assert difference == pytest.approx(paired.mean())
    assert low == pytest.approx(difference - 1.96 * standard_error, abs=0.003)
    assert high == pytest.approx(difference + 1.96 * standard_error, abs=0.003)


def test_equal_sides_have_a_zero_interval_because_rows_are_paired():
    correct = np.random.default_rng(1).random(300) < 0.5
    assert paired_bootstrap(correct, correct) == (0.0, 0.0, 0.0)


def test_swapping_the_sides_mirrors_the_interval():
    generator = np.random.default_rng(2)
    first, second = generator.random((2, 200)) < 0.6, generator.random((2, 200)) < 0.5
    difference, low, high = paired_bootstrap(first, second)
    mirrored, mirrored_low, mirrored_high = paired_bootstrap(second, first)
    assert mirrored == pytest.approx(-difference)
    assert (mirrored_low, mirrored_high) == (pytest.approx(-high, abs=0.01), pytest.approx(-low, abs=0.01))


def test_runs_that_differ_widen_the_interval():
    rows = 4000
    generator = np.random.default_rng(3)
    steady = np.stack([generator.random(rows) < 0.7 for _ in range(3)])
    swinging = np.stack([generator.random(rows) < level for level in (0.5, 0.7, 0.9)])
    baseline = generator.random((3, rows)) < 0.5
    _, low, high = paired_bootstrap(steady, baseline)
    _, wide_low, wide_high = paired_bootstrap(swinging, baseline)
    assert wide_high - wide_low > 3 * (high - low)


def test_different_rows_are_refused():
    with pytest.raises(SettingsError, match="3 and 4 test rows"):
        paired_bootstrap(np.ones(3), np.ones(4))


def test_the_interval_of_one_accuracy_is_the_binomial_one_for_many_rows():
    correct = np.random.default_rng(0).random(2000) < 0.84
    low, high = accuracy_interval(correct)
    half = 1.96 * np.sqrt(correct.mean() * (1 - correct.mean()) / 2000)
    assert (low, high) == (
        pytest.approx(correct.mean() - half, abs=0.002),
        pytest.approx(correct.mean() + half, abs=0.002),
    )


def test_nothing_wrong_is_not_certainty():
    """Of 20 rows all right, an accuracy of 83.2 % gives as many once in forty times."""
    assert accuracy_interval(np.ones((3, 20))) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert accuracy_interval(np.zeros(20)) == (0.0, pytest.approx(1 - 0.8316, abs=1e-4))


def test_seeds_that_differ_widen_it_and_rows_without_labels_have_none():
    true = np.ones(400, dtype=int)
    generator = np.random.default_rng(3)
    steady, swinging = (
        [(generator.random(400) < level).astype(int) for level in levels] for levels in ((0.7,) * 3, (0.5, 0.7, 0.9))
    )
    low, high = runs_interval([true] * 3, steady)
    wide_low, wide_high = runs_interval([true] * 3, swinging)
    assert wide_high - wide_low > 2 * (high - low)
    assert runs_interval([np.empty(0)], [np.empty(0)]) is None
