"""Expectation and trials joined: by another way, and what must hold whatever they say."""

import numpy as np
import pytest

from hf_transfer_kit.selection.advice.joining import joined
from hf_transfer_kit.selection.advice.outlook import Expectation
from hf_transfer_kit.selection.advice.paired_rows import paired_shares

NAMES = ("full", "head_only", "lora", "l2sp")


def expected(seed=0, scale=0.05):
    """Differences to full, whose own is surely nothing."""
    generator = np.random.default_rng(seed)
    factor = generator.normal(size=(4, 4)) * scale
    factor[0] = 0
    mean = generator.normal(size=4) * scale
    mean[0] = 0
    return Expectation(NAMES, mean, factor @ factor.T)


@pytest.mark.parametrize("tried", [("lora", "full"), ("head_only", "lora", "l2sp"), NAMES])
def test_joining_is_bayes_rule_with_a_level_of_which_nothing_is_known(tried):
    before, generator = expected(), np.random.default_rng(1)
    shares, half = generator.uniform(0.5, 0.9, len(tried)), generator.normal(size=(len(tried), 4)) * 0.03
    rows_error = half @ half.T
    after = joined(before, tried, shares, rows_error, trial_error=0.02)
    # Slowly: the level of the validation rows is one more unknown, with a variance that is all but infinite.
    places = [NAMES.index(name) for name in tried]
    prior = np.zeros((5, 5))
    prior[:4, :4], prior[4, 4] = before.covariance, 1e6
    seen = np.zeros((len(tried), 5))
    seen[np.arange(len(tried)), places], seen[:, 4] = 1, 1
    unsure = seen @ prior @ seen.T + rows_error + 0.02**2 * np.eye(len(tried))
    gain = prior @ seen.T @ np.linalg.inv(unsure)
    mean = np.append(before.mean, 0.7) + gain @ (shares - seen @ np.append(before.mean, 0.7))
    assert after.mean == pytest.approx(mean[:4], abs=1e-5)
    assert after.covariance == pytest.approx((prior - gain @ seen @ prior)[:4, :4], abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_how_hard_the_rows_are_and_the_order_of_trials_tell_nothing(seed):
    before, shares = expected(seed), np.array([0.6, 0.7, 0.65])
    error = np.diag([0.001, 0.002, 0.003])
    after = joined(before, NAMES[:3], shares, error, trial_error=0.01)
    harder = joined(before, NAMES[:3], shares - 0.3, error, trial_error=0.01)
    turned = joined(before, NAMES[2::-1], shares[::-1], error[::-1, ::-1], trial_error=0.01)
    for other in (harder, turned):
        assert other.mean == pytest.approx(after.mean)
        assert other.covariance == pytest.approx(after.covariance)
    assert after.mean[0] == 0.0
    assert after.covariance[0, 0] == 0.0
    assert (np.diag(after.covariance) <= np.diag(before.covariance) + 1e-12).all()


def test_the_surer_account_decides():
    before = Expectation(("full", "lora"), np.array([0.0, 0.04]), np.diag([0.0, 0.02**2]))
    seen = np.array([0.70, 0.62])  # lora eight points behind, not four before

    def lora(rows_error, trial_error):
        return joined(before, ("full", "lora"), seen, np.eye(2) * rows_error, trial_error=trial_error).mean[1]

    assert lora(1e-9, 0.0) == pytest.approx(-0.08, abs=1e-4)
    assert lora(1.0, 0.0) == pytest.approx(0.04, abs=1e-3)
    assert lora(0.02**2 / 2, 0.0) == pytest.approx(-0.02)  # two equally sure accounts: halfway
    assert lora(0.02**2 / 4, np.sqrt(0.02**2 / 4)) == pytest.approx(-0.02)  # shortness is an error like any other


def test_what_was_not_tried_moves_with_what_it_goes_with():
    together = np.array([[0, 0, 0], [0, 1, 0.9], [0, 0.9, 1]]) * 0.05**2
    before = Expectation(("full", "lora", "head_only"), np.zeros(3), together)
    after = joined(before, ("full", "lora"), np.array([0.6, 0.7]), np.eye(2) * 1e-9, trial_error=0.0)
    assert after.mean == pytest.approx([0, 0.1, 0.09], abs=1e-4)


def test_fewer_than_two_trials_change_nothing():
    before = expected()
    for tried in ((), ("lora",)):
        count = len(tried)
        assert joined(before, tried, np.ones(count), np.zeros((count, count)), trial_error=0.0) is before


def test_shares_have_the_covariance_of_draws_of_rows():
    generator = np.random.default_rng(0)
    population = generator.random((3, 20_000)) < np.array([[0.6], [0.7], [0.7]])
    population[2] = np.where(generator.random(20_000) < 0.8, population[1], population[2])  # two that mostly agree
    drawn = [population[:, generator.choice(20_000, 60)] for _ in range(4_000)]
    wanted = np.cov(np.array([rows.mean(1) for rows in drawn]).T)
    found = np.mean([paired_shares(rows)[1] for rows in drawn], axis=0)
    assert found == pytest.approx(wanted, abs=3e-4)
    assert found[1, 2] > 5 * abs(found[0, 1])


def test_runs_that_agree_on_few_rows_are_not_surely_equal():
    rows = np.array([[1, 1, 0, 1, 1]] * 2, dtype=bool)
    shares, covariance = paired_shares(rows)
    assert shares[0] == shares[1] == pytest.approx(5 / 7)
    assert np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) == pytest.approx(1 / 7)
