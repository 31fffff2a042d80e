"""Discrepancies of domains equal slow loops and closed forms: MMD, its joint form, covariances."""

import math
import statistics

import pytest
import torch

from hf_transfer_kit.adaptation.objectives.coral import covariance_distance
from hf_transfer_kit.adaptation.objectives.jan import joint_discrepancy
from hf_transfer_kit.adaptation.objectives.kernels import squared_distances
from hf_transfer_kit.adaptation.objectives.mmd import FACTORS, maximum_mean_discrepancy


def slow_mmd(source, target, kernel):
    """The double sums of the definition."""

    def mean(first, second):
        return statistics.fmean(kernel(a, b) for a in first for b in second)

    return mean(source, source) + mean(target, target) - 2 * mean(source, target)


def slow_bandwidth(rows):
    distances = [float(((a - b) ** 2).sum()) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
    return sorted(distances)[(len(distances) - 1) // 2]


def gaussians(a, b, bandwidth, factors=FACTORS):
    return statistics.fmean(math.exp(-float(((a - b) ** 2).sum()) / (u * bandwidth)) for u in factors)


@pytest.mark.parametrize(("sources", "targets"), [(5, 4), (1, 3)])
def test_mmd_is_the_double_sum(sources, targets):
    source, target = torch.randn(sources, 3, dtype=torch.float64), 2 + torch.randn(targets, 3, dtype=torch.float64)
    bandwidth = slow_bandwidth([*source, *target])
    expected = slow_mmd(source, target, lambda a, b: gaussians(a, b, bandwidth))
    assert maximum_mean_discrepancy(source, target).item() == pytest.approx(expected, abs=1e-12)


def test_joint_mmd_is_the_double_sum_of_the_product():
    source = torch.randn(4, 3, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    target = torch.randn(5, 3, dtype=torch.float64), torch.rand(5, 2, dtype=torch.float64)
    bandwidth = slow_bandwidth([*source[0], *target[0]])

    def kernel(a, b):
        return gaussians(a[0], b[0], bandwidth) * math.exp(-float(((a[1] - b[1]) ** 2).sum()) / 1.68)

    expected = slow_mmd(list(zip(*source, strict=True)), list(zip(*target, strict=True)), kernel)
    assert joint_discrepancy(source, target).item() == pytest.approx(expected, abs=1e-12)


def test_mmd_of_equal_samples_is_zero_and_grows_with_the_shift_whatever_the_scale():
    source = torch.randn(40, 3, dtype=torch.float64)
    assert abs(maximum_mean_discrepancy(source, source).item()) < 1e-12
    shifts = [maximum_mean_discrepancy(source, source + shift).item() for shift in (0.5, 1.0, 2.0)]
    assert shifts == sorted(shifts)
    for scale in (1e-6, 1e6):
        scaled = maximum_mean_discrepancy(scale * source, scale * (source + 1)).item()
        assert scaled == pytest.approx(shifts[1], rel=1e-6)


def test_collapsed_features_give_no_nan():
    rows = torch.ones(3, 2, requires_grad=True)
    value = maximum_mean_discrepancy(rows, rows)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(rows.grad).all()


def test_distances_hold_far_from_the_origin_and_their_gradient_is_right():
    rows = torch.randn(6, 3)
    expected = torch.cdist(rows.double(), rows.double()).square()
    torch.testing.assert_close(squared_distances(rows + 1000).double(), expected, atol=2e-2, rtol=1e-3)
    target = torch.randn(3, 2, dtype=torch.float64)
    # The median is taken as given, so only what does not move it can be checked by differences.
    assert torch.autograd.gradcheck(squared_distances, target.requires_grad_())


def test_coral_is_the_formula():
    source, target = torch.randn(6, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    difference = torch.cov(source.T) - torch.cov(target.T)
    expected = sum(float(difference[i, j]) ** 2 for i in range(3) for j in range(3)) / (4 * 3**2)
    assert covariance_distance(source, target).item() == pytest.approx(expected, abs=1e-12)
    assert covariance_distance(source, source + 5).item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.gradcheck(covariance_distance, (source.requires_grad_(), target))
    doubled = covariance_distance(2 * source, torch.zeros(2, 3, dtype=torch.float64)).item()
    assert doubled == pytest.approx(16 * covariance_distance(source, torch.zeros(2, 3, dtype=torch.float64)).item())
