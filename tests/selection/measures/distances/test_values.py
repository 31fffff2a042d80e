"""Each distance equals its closed form or a slow loop, moves with the features as it says, and knows no order of rows."""

import math
import statistics

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from hf_transfer_kit.adaptation.objectives.coral import covariance_distance
from hf_transfer_kit.adaptation.objectives.mmd import FACTORS, maximum_mean_discrepancy
from hf_transfer_kit.adaptation.scores import proxy_a_distance
from hf_transfer_kit.selection.measures.distances import DISTANCES
from hf_transfer_kit.selection.measures.distances.frechet import frechet_distances, principal_coordinates
from hf_transfer_kit.selection.measures.distances.linear_separation import FOLDS, STRENGTH, linear_separation
from hf_transfer_kit.selection.measures.distances.mean_discrepancy import mean_discrepancy
from hf_transfer_kit.selection.measures.distances.sliced_wasserstein import sliced_wasserstein


def dealt_rows(source, target):
    return np.concatenate([source, target]), (np.arange(len(source) + len(target)) < len(source))[None]


def distance(kind, source, target, seed=0):
    return float(DISTANCES[kind].measure(*dealt_rows(source, target), seed)[0])


def two_samples(sources=14, targets=9, width=4, shift=0.7):
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(width, width))
    return generator.normal(size=(sources, width)), generator.normal(size=(targets, width)) @ mixing + shift


def with_moments(mean, covariance, rows):
    """Rows whose mean and covariance (divisor N - 1) are exactly these."""
    white = np.random.default_rng(rows).normal(size=(rows, len(mean)))
    white = white - white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T)).T)
    return white @ np.linalg.cholesky(covariance).T + mean


def gaussians(a, b, bandwidth):
    return statistics.fmean(math.exp(-float(((a - b) ** 2).sum()) / (factor * bandwidth)) for factor in FACTORS)


def test_mmd_is_the_double_sum_over_different_rows():
    source, target = two_samples(5, 4)
    rows = [*source, *target]
    apart = sorted(float(((a - b) ** 2).sum()) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j)
    bandwidth = apart[(len(apart) - 1) // 2]

    def within(own):
        return statistics.fmean(
            gaussians(a, b, bandwidth) for i, a in enumerate(own) for j, b in enumerate(own) if i != j
        )

    across = statistics.fmean(gaussians(a, b, bandwidth) for a in source for b in target)
    assert distance("mmd", source, target) == pytest.approx(within(source) + within(target) - 2 * across, abs=1e-12)
    trained = maximum_mean_discrepancy(torch.from_numpy(source), torch.from_numpy(target)).item()
    assert distance("mmd_biased", source, target) == pytest.approx(trained, abs=1e-12)


def test_unbiased_mmd_of_equal_distributions_is_zero_on_average():
    generator = np.random.default_rng(3)
    deals = (np.arange(20) < 8)[None]
    samples = [generator.normal(size=(20, 2)) for _ in range(300)]
    for biased, low, high in ((False, -0.005, 0.005), (True, 0.05, 0.15)):
        assert low < np.mean([mean_discrepancy(rows, deals, biased=biased)[0] for rows in samples]) < high


def test_frechet_of_known_gaussians():
    # Commuting covariances: |m|^2 + the sum of squared differences of the deviations.
    source = with_moments(np.array([1.0, 0, 0]), np.diag([4.0, 1.0, 9.0]), 12)
    target = with_moments(np.array([0.0, 2, 0]), np.diag([1.0, 1.0, 4.0]), 7)
    assert distance("frechet", source, target) == pytest.approx(5 + 1 + 0 + 1, rel=1e-9)
    # Others: the trace of the root by the eigenvalues of the product, all above 0.
    a, b = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.4], [-0.4, 3.0]])
    expected = np.trace(a + b) - 2 * np.sqrt(np.linalg.eigvals(a @ b)).sum()
    assert distance("frechet", with_moments(np.zeros(2), a, 9), with_moments(np.zeros(2), b, 6)) == pytest.approx(
        expected
    )


def test_frechet_holds_where_rows_are_fewer_than_features():
    source, target = two_samples(6, 5, width=40)
    own, other = np.cov(source.T), np.cov(target.T)
    root = np.sqrt(np.maximum(np.linalg.eigvals(own @ other).real, 0)).sum()
    expected = ((source.mean(0) - target.mean(0)) ** 2).sum() + np.trace(own + other) - 2 * root
    # The product's eigenvalues of 0 come as 1e-14, whose roots the slow form adds up.
    assert distance("frechet", source, target) == pytest.approx(expected, rel=1e-6)
    assert distance("frechet", source, source + 3) == pytest.approx(40 * 9, rel=1e-9)


@pytest.mark.parametrize("width", [6, 30])
def test_principal_coordinates_keep_what_varies_most(width):
    rows = np.random.default_rng(1).normal(size=(20, width)) * np.linspace(3, 0.1, width) + 5
    kept = principal_coordinates(rows, 4)
    values = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    np.testing.assert_allclose(np.cov(kept.T), np.diag(values[:4]), atol=1e-9)
    whole = frechet_distances(*dealt_rows(rows[:12], rows[12:]), directions=30)
    np.testing.assert_allclose(frechet_distances(*dealt_rows(rows[:12], rows[12:]), directions=19), whole, rtol=1e-8)
    assert frechet_distances(*dealt_rows(rows[:12], rows[12:]), directions=4) < whole


@pytest.mark.parametrize("width", [3, 30])
def test_coral_is_the_formula_that_training_has(width):
    source, target = two_samples(8, 5, width=width)
    expected = covariance_distance(torch.from_numpy(source), torch.from_numpy(target)).item()
    assert distance("coral", source, target) == pytest.approx(expected, rel=1e-10)
    assert distance("coral", source, source[::-1] + 5) == pytest.approx(0, abs=1e-12)


def test_wasserstein_of_one_feature_is_that_of_sorted_rows():
    source, target = two_samples(9, 9, width=1)
    expected = math.sqrt(((np.sort(source[:, 0]) - np.sort(target[:, 0])) ** 2).mean())
    assert distance("sliced_wasserstein", source, target) == pytest.approx(expected, rel=1e-12)


def test_wasserstein_of_unequal_sizes_is_that_of_rows_repeated_to_equal_ones():
    source, target = two_samples(6, 4, width=3)
    equal = sliced_wasserstein(*dealt_rows(np.repeat(source, 2, 0), np.repeat(target, 3, 0)), seed=1)
    # Directions are the same for one seed; the mean of all rows, which is taken off, does not count.
    assert sliced_wasserstein(*dealt_rows(source, target), seed=1) == pytest.approx(equal, rel=1e-12)


def test_wasserstein_of_a_shift_is_its_length_over_the_root_of_the_width():
    source = np.random.default_rng(0).normal(size=(30, 10))
    shift = np.full(10, 2.0)
    found = sliced_wasserstein(*dealt_rows(source, source + shift), projections=20_000)
    assert found == pytest.approx(np.linalg.norm(shift) / math.sqrt(10), rel=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_proxy_a_is_the_error_of_ridge_regression_refitted_for_every_fold(seed):
    source, target = two_samples(21, 16, width=5, shift=0.3)
    rows, deals = dealt_rows(source, target)
    scaled = (rows - rows.mean(0)) / rows.std(0)
    folds = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
    scores, y = np.empty(len(rows)), np.where(deals[0], 1.0, -1.0)
    for fold in range(FOLDS):
        kept = folds != fold
        ridge = Ridge(alpha=kept.sum() * STRENGTH, fit_intercept=False).fit(scaled[kept], y[kept] - y[kept].mean())
        scores[~kept] = ridge.predict(scaled[~kept])
    named = np.empty(len(rows), bool)
    for fold in range(FOLDS):
        others = folds != fold
        middle = (scores[others & deals[0]].mean() + scores[others & ~deals[0]].mean()) / 2
        named[~others] = scores[~others] > middle
    error = (np.mean(~named[:21]) + np.mean(named[21:])) / 2
    assert 0.02 < error < 0.48
    assert linear_separation(rows, deals, seed=seed) == pytest.approx(2 * (1 - 2 * error), abs=1e-12)


def test_proxy_a_is_near_the_logistic_one():
    generator = np.random.default_rng(5)
    for shift in (0.15, 0.3, 1.0):
        source, target = generator.normal(size=(200, 20)), generator.normal(size=(120, 20)) + shift
        assert distance("proxy_a", source, target) == pytest.approx(proxy_a_distance(source, target), abs=0.15)


def test_many_deals_at_once_equal_each_alone():
    rows, _ = dealt_rows(*two_samples())
    deals = np.random.default_rng(2).permuted(np.tile(np.arange(23) < 14, (6, 1)), axis=1)
    for name, kind in DISTANCES.items():
        found = kind.measure(rows, deals, 7)
        each = [kind.measure(rows, deal[None], 7)[0] for deal in deals]
        assert found.shape == (6,)
        np.testing.assert_allclose(found, each, rtol=1e-9, atol=1e-12, err_msg=name)
        assert np.ptp(found) > 0


@pytest.mark.parametrize("kind", [name for name in DISTANCES if name != "proxy_a"])
def test_order_of_rows_and_of_domains_does_not_matter(kind):
    source, target = two_samples()
    found = distance(kind, source, target)
    assert distance(kind, source[::-1], np.roll(target, 3, axis=0)) == pytest.approx(found, rel=1e-9)
    assert distance(kind, target, source) == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("mmd", 1e-8), ("mmd_biased", 1e-8), ("frechet", 1e-8), ("coral", 1e-8), ("sliced_wasserstein", 0.15)],
)
def test_rotations_and_shifts_of_both_do_not_matter(kind, tolerance):
    source, target = two_samples()
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(4, 4)))[0]
    assert distance(kind, source @ rotation + 3, target @ rotation + 3) == pytest.approx(
        distance(kind, source, target), rel=tolerance
    )


@pytest.mark.parametrize("scale", [1e-9, 1e9])
@pytest.mark.parametrize(
    ("kind", "power"),
    {"mmd": 0, "mmd_biased": 0, "proxy_a": 0, "frechet": 2, "coral": 4, "sliced_wasserstein": 1}.items(),
)
def test_values_grow_with_a_power_of_the_scale(kind, power, scale):
    source, target = two_samples()
    assert distance(kind, scale * source, scale * target) == pytest.approx(
        scale**power * distance(kind, source, target), rel=1e-9
    )


@pytest.mark.parametrize("kind", DISTANCES)
def test_a_larger_shift_is_farther_where_means_count(kind):
    generator = np.random.default_rng(0)
    source, target = generator.normal(size=(40, 3)), generator.normal(size=(30, 3))
    found = [distance(kind, source, target + shift) for shift in (0.0, 0.7, 1.4, 4.0)]
    if kind == "coral":
        assert found == pytest.approx([found[0]] * 4)
    else:
        assert found == sorted(set(found))


@pytest.mark.parametrize("kind", DISTANCES)
def test_rows_that_are_all_equal_give_zero(kind):
    assert distance(kind, np.ones((4, 3)), np.ones((2, 3))) == pytest.approx(0, abs=1e-12)
