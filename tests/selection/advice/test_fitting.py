"""What is fitted to cases, and the test on families left out."""

import json

import pytest
from advice_cases import case

from hf_transfer_kit.selection.advice import (
    Experience,
    Settings,
    evaluate_advice,
    experience_from,
    fit_settings,
    measured_experience,
)
from hf_transfer_kit.selection.advice.fitting import STRENGTHS, across_seeds, left_out_regrets, threshold


def grid():
    """Three families in which the frozen network wins with few rows and fine-tuning with many."""
    few = {"head_only": 0.7, "full": 0.5, "from_scratch": 0.2}
    many = {"head_only": 0.8, "full": 0.9, "from_scratch": 0.6}
    return [case(size, target=name, **(few if size < 50 else many)) for name in "abc" for size in (2, 10, 100, 500)]


def test_advice_for_a_family_comes_from_the_others_alone():
    found = evaluate_advice(grid())
    assert found["within_a_point"] == 1.0
    assert found["mean_regret"]["advice"] == 0.0
    assert found["mean_regret"]["head_only"] == pytest.approx(0.05)
    assert found["mean_regret"]["full"] == pytest.approx(0.1)
    assert [cell["advised"] for cell in found["cells"][:4]] == ["head_only", "head_only", "full", "full"]
    assert found["across_seeds"] is None
    # A family that is alone in what it shows cannot be foreseen.
    odd = [case(2, target="odd", head_only=0.1, full=0.6, from_scratch=0.7)]
    cells = evaluate_advice(grid() + odd)["cells"]
    assert cells[-1]["advised"] == "head_only"
    assert cells[-1]["regret"] == pytest.approx(0.6)


def test_thresholds_lie_where_the_outcome_changes():
    settings = fit_settings(grid())
    assert settings.many_rows == pytest.approx(55.0)  # halfway between 10 and 100
    values = [1, 2, 3, 10, 11]
    cases = [case(value, full=0.5, head_only=0.4 if value > 5 else 0.6) for value in values]
    found = threshold(cases, lambda c: c.measures.rows_per_class, lambda c: c.mean("full") > c.mean("head_only"))
    assert found == pytest.approx(6.5)


def test_the_strength_is_the_one_with_the_least_regret_on_families_left_out():
    settings = fit_settings(grid())
    regrets = {strength: sum(left_out_regrets(grid(), strength)) for strength in STRENGTHS}
    assert regrets[settings.strength] == min(regrets.values())


def test_what_chance_costs_is_told_by_another_seed():
    cases = [case(10, full=0.5, head_only=0.6)]
    assert across_seeds(cases) is None
    two = [case(10, full=0.5, head_only=0.6)]
    object.__setattr__(two[0], "accuracy", {"full": (0.5, 0.8), "head_only": (0.6, 0.7)})
    # Chosen by seed 1: full, judged by seed 0: 0.1 lost; chosen by seed 0: head_only, judged by seed 1: 0.1 lost.
    assert across_seeds(two) == {"mean_regret": pytest.approx(0.1), "within_a_point": 0.0}


def test_experience_survives_its_file():
    cases = tuple(grid())
    written = Experience(cases, Settings(0.4, 50.0, 0.1), "command", {"within_a_point": 1.0})
    read = experience_from(json.loads(json.dumps(written.to_json(), default=list)))
    assert read == written


def test_the_package_carries_measured_cases():
    found = measured_experience()
    assert len(found.cases) >= 24
    assert len({case.family for case in found.cases}) >= 5
    assert all(0 <= value <= 1 for case in found.cases for runs in case.accuracy.values() for value in runs)
    # What is written down is what fitting gives.
    assert fit_settings(found.cases) == found.settings
    assert evaluate_advice(found.cases)["mean_regret"]["advice"] == pytest.approx(
        found.evaluation["mean_regret"]["advice"]
    )
