"""What is fitted to cases, and the test on families left out."""

import json

import numpy as np
import pytest
from advice_cases import case, tried_case

from hf_transfer_kit.selection.advice import (
    Experience,
    Settings,
    evaluate_advice,
    experience_from,
    fit_settings,
    measured_experience,
)
from hf_transfer_kit.selection.advice.fitting import (
    STRENGTHS,
    across_seeds,
    left_out_regrets,
    threshold,
    trial_error,
    trial_regrets,
)


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
    assert found["trials"] is None  # these cases hold no validation rows
    assert found["by_family"]["a"] == {"advice": 0.0, "full": pytest.approx(0.1)}
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


def tried_grid(count=40, noise=0.0, rows=100):
    """Cases in which lora and full are equal on average, and which is better in a case cannot be foreseen."""
    generator = np.random.default_rng(3)
    found = []
    for index in range(count):
        lora = 0.6 + 0.06 * generator.choice([-1, 1])
        reached = {"full": 0.6, "lora": lora, "head_only": 0.4, "from_scratch": 0.2}
        found.append(tried_case(target=f"t{index}", noise=noise, rows=rows, seed=index, **reached))
    return found


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
def test_the_error_of_a_trial_is_what_validation_rows_do_not_explain(noise):
    assert trial_error(tried_grid(300, noise=noise)) == pytest.approx(noise, abs=0.012)


def test_without_trials_nothing_is_known_of_their_error():
    assert trial_error(grid()) is None
    assert fit_settings(grid()).trial_error is None
    assert trial_regrets(grid()[0], grid()[4:], fit_settings(grid()[4:])) == []


def test_trials_find_what_cannot_be_foreseen_the_better_the_more_rows_judge_them():
    lost = {}
    for rows in (10, 100, 1_000):
        found = evaluate_advice(tried_grid(rows=rows))
        assert found["mean_regret"]["advice"] > 0.02
        lost[rows] = found["trials"]["mean_regret"]
        assert found["trials"]["mean_regret"] == pytest.approx(
            np.mean([cell["trial_regret"] for cell in found["cells"]]), abs=1e-4
        )
    assert lost[10] > lost[100] > lost[1_000]
    assert lost[1_000] < 0.002


def test_experience_survives_its_file():
    cases = (*grid(), *tried_grid(3))
    written = Experience(cases, Settings(0.4, 50.0, 0.1), "command", {"within_a_point": 1.0})
    read = experience_from(json.loads(json.dumps(written.to_json(), default=list)))
    assert read == written


def test_the_package_carries_measured_cases():
    found = measured_experience()
    assert len(found.cases) >= 20
    assert len({case.family for case in found.cases}) >= 8
    assert all(len(runs) == 3 for case in found.cases for runs in case.accuracy.values())
    assert 0 < found.settings.trial_error < 0.1
    assert all(0 <= value <= 1 for case in found.cases for runs in case.accuracy.values() for value in runs)
    # What is written down is what fitting gives.
    assert fit_settings(found.cases) == found.settings
    assert evaluate_advice(found.cases)["mean_regret"]["advice"] == pytest.approx(
        found.evaluation["mean_regret"]["advice"]
    )
