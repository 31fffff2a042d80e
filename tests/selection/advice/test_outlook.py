"""Expected differences: the regression by another way, and what it must not depend on."""

import math
from dataclasses import replace

import numpy as np
import pytest
from advice_cases import case, measures
from sklearn.linear_model import Ridge

from hf_transfer_kit.selection.advice import outlook
from hf_transfer_kit.selection.advice.outlook import Expectation, by_nearness, expectation, place


def scattered(count=12, seed=0):
    """Cases over all sizes and likenesses; the frozen network is the better the fewer the rows."""
    generator = np.random.default_rng(seed)
    found = []
    for index in range(count):
        size = int(10 ** generator.uniform(0.3, 3))
        probe, random = generator.uniform(0.3, 0.9), generator.uniform(0.2, 0.5)
        frozen = 0.8 - 0.1 * math.log10(size) + generator.normal() * 0.01
        found.append(case(size, target=f"t{index}", probe=probe, random=random, full=0.6, head_only=frozen))
    return found


def test_a_case_lies_by_its_size_and_what_both_features_know():
    found = measures(100, probe=0.6, random=0.3)
    assert place(found) == pytest.approx([2.0, (0.6 - 0.2) / 0.8, (0.3 - 0.2) / 0.8, 0.0])
    assert place(replace(found, modality="text")) == pytest.approx([2.0, 0.5, 0.125, 1.0])
    assert (found.rows_per_class, found.gain, found.slope) == pytest.approx((100, 0.3, 0.1))


@pytest.mark.parametrize("strength", [0.3, 10.0])
def test_differences_are_those_of_a_ridge_regression(strength):
    cases, asked = scattered(), measures(30)
    places = np.array([place(found.measures) for found in cases])
    mean, spread = places.mean(0), np.maximum(places.std(0), 1e-9)  # all of one kind
    target = np.array([found.mean("head_only") - found.mean("full") for found in cases])
    model = Ridge(alpha=strength).fit((places - mean) / spread, target)
    entry = next(found for found in outlook(asked, cases, strength) if found.strategy == "head_only")
    assert entry.difference == pytest.approx(model.predict([(place(asked) - mean) / spread])[0])
    assert next(found for found in outlook(asked, cases, strength) if found.strategy == "full").difference == 0.0


def test_the_error_covers_new_cases_and_grows_with_distance():
    cases = scattered(60)
    inside, covered = [], 0
    for new in scattered(200, seed=1):
        entry = next(e for e in outlook(new.measures, cases, 0.3) if e.strategy == "head_only")
        covered += abs(entry.difference - (new.mean("head_only") - new.mean("full"))) <= 2 * entry.error
        inside.append(entry.error)
    assert covered / 200 == pytest.approx(0.95, abs=0.04)
    far = next(e for e in outlook(measures(10**7), cases, 0.3) if e.strategy == "head_only")
    assert far.error > 1.3 * np.mean(inside)


def test_the_spread_is_over_what_the_ridge_leaves_free():
    """With a ridge beyond all measure the regression is a mean, and the error that of one more number beside N."""
    cases = scattered(20)
    differences = np.array([found.mean("head_only") - found.mean("full") for found in cases])
    entry = next(found for found in outlook(measures(), cases, 1e12) if found.strategy == "head_only")
    assert entry.difference == pytest.approx(differences.mean())
    assert entry.error == pytest.approx(differences.std(ddof=1) * math.sqrt(1 + 1 / 20))


def test_strategies_hang_together_as_they_do_in_the_cases():
    cases = [
        replace(found, accuracy={**found.accuracy, "lora": (found.mean("head_only") + 0.01 * (index % 2),)})
        for index, found in enumerate(scattered(30))
    ]
    found = expectation(measures(), cases, 1.0)
    place_of = {name: index for index, name in enumerate(found.strategies)}
    full, head, lora = (place_of[name] for name in ("full", "head_only", "lora"))
    assert found.covariance[full] == pytest.approx(np.zeros(3))
    correlation = found.covariance[head, lora] / math.sqrt(found.covariance[head, head] * found.covariance[lora, lora])
    assert 0.7 < correlation < 1
    assert found.among(["lora", "full"]).covariance.shape == (2, 2)
    assert found.outlook() == outlook(measures(), cases, 1.0)


def test_the_likeliest_are_those_that_are_best_in_draws():
    sure = Expectation(
        ("full", "near", "far", "wide"), np.array([0.0, -0.01, -0.5, -0.01]), np.diag([0, 1e-6, 1e-6, 0.01])
    )
    assert sure.likeliest(2) == ("full", "wide")  # near is as far behind, and surely so
    assert sure.likeliest(4)[-1] == "far"
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        turned = Expectation(
            tuple(sure.strategies[i] for i in order), sure.mean[order], sure.covariance[order][:, order]
        )
        assert turned.likeliest(2) == ("full", "wide")


def test_the_best_comes_first_and_turns_with_size():
    cases = scattered(40)
    assert outlook(measures(2), cases, 0.3)[0].strategy == "head_only"
    assert outlook(measures(1_000), cases, 0.3)[0].strategy == "full"


def test_a_strategy_that_some_case_lacks_is_not_advised():
    cases = [case(full=0.5, head_only=0.6), case(full=0.5, head_only=0.6, lora=0.9)]
    assert {entry.strategy for entry in outlook(measures(), cases, 0.5)} == {"full", "head_only"}


def test_near_cases_come_first():
    cases = [case(1_000, target="far", full=0.5), case(10, target="same", full=0.5), case(20, target="near", full=0.5)]
    found = by_nearness(measures(10), cases)
    assert [near.target for _, near in found] == ["same", "near", "far"]
    assert found[0][0] == 0.0
