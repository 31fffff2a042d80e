"""Rungs, survivors and the choice: numbers in, numbers out."""

import numpy as np
import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.contest.halving import (
    Rung,
    Score,
    affordable,
    cheapest_within_one_error,
    error_of_difference,
    halving_powers,
    plan_rungs,
    preference,
    standard_error,
)

PRICE = {0: 100, 1: 90, 2: 50, 3: 10}


def scores(*accuracies, error=0.02):
    return {depth: Score(accuracy, error, 1.0) for depth, accuracy in enumerate(accuracies)}


def test_short_runs_of_all_then_full_ones_with_one_seed_then_with_all():
    assert plan_rungs(9, 150, (0, 1, 2)) == (
        Rung(50, (0,), 9),
        Rung(150, (0,), 3),
        Rung(150, (0, 1, 2), 2),
    )
    assert [(rung.steps, rung.most) for rung in plan_rungs(26, 90, (0, 1))] == [(10, 26), (30, 9), (90, 3), (90, 2)]
    assert plan_rungs(4, 90, (5,)) == (Rung(10, (5,), 4), Rung(90, (5,), 2))
    assert [rung.steps for rung in plan_rungs(8, 80, (0, 1), reduction_factor=2)] == [20, 40, 80, 80]


def test_as_many_short_rungs_as_leave_two():
    def short(candidates, max_steps):
        rungs = plan_rungs(
            candidates, max_steps, (0,), reduction_factor=3, powers=halving_powers(candidates, max_steps, 3)
        )
        return [(rung.steps, rung.most) for rung in rungs]

    assert short(9, 270) == [(30, 9), (90, 3), (270, 2)]
    assert short(4, 60) == [(20, 4), (60, 2)]
    assert short(2, 60) == [(60, 2)]
    assert short(9, 60) == [(20, 9), (60, 3)]  # 60 / 9 would order by chance


def test_runs_are_never_too_short_to_tell_anything():
    assert plan_rungs(9, 24, (0, 1)) == (Rung(10, (0,), 9), Rung(24, (0,), 3), Rung(24, (0, 1), 2))
    assert plan_rungs(26, 24, (0, 1))[0] == Rung(10, (0,), 26)
    assert plan_rungs(9, 10, (0,)) == (Rung(10, (0,), 9),)
    assert plan_rungs(2, 900, (0, 1)) == (Rung(900, (0, 1), 2),)
    assert plan_rungs(1, 900, (0,)) == (Rung(900, (0,), 1),)


@pytest.mark.parametrize(("reduction_factor", "seeds"), [(1, (0,)), (3, ())])
def test_what_cannot_be_planned_is_a_sentence(reduction_factor, seeds):
    with pytest.raises(SettingsError, match="must be a whole number from 2"):
        plan_rungs(9, 100, seeds, reduction_factor=reduction_factor)


def test_standard_error_of_several_runs_and_of_few():
    assert standard_error([0.5, 0.6, 0.8], 100) == pytest.approx(np.std([0.5, 0.6, 0.8], ddof=1) / 3**0.5)
    assert standard_error([0.8], 100) == pytest.approx(0.04)
    assert standard_error([0.7, 0.9], 100) == pytest.approx(0.04)


def test_the_choice_is_the_cheapest_within_one_error_of_the_best():
    assert cheapest_within_one_error(scores(0.80, 0.79, 0.78, 0.70), PRICE) == 2
    assert cheapest_within_one_error(scores(0.80, 0.79, 0.77, 0.70), PRICE) == 1
    assert cheapest_within_one_error(scores(0.80, 0.70, 0.60, 0.50), PRICE) == 0
    assert cheapest_within_one_error(scores(0.80, 0.80, 0.80, 0.80, error=0.0), PRICE) == 3


def test_the_error_is_that_of_the_best():
    given = {0: Score(0.8, 0.05, 1.0), 1: Score(0.74, 0.5, 1.0), 3: Score(0.76, 0.0, 1.0)}
    assert cheapest_within_one_error(given, PRICE) == 3
    assert cheapest_within_one_error({**given, 3: Score(0.74, 0.5, 1.0)}, PRICE) == 0


def test_rows_that_are_hard_for_all_do_not_blur_a_difference():
    hard = np.repeat([0.0, 1.0], [300, 700])
    worse = np.where(np.arange(1000) < 990, hard, 0.0)  # ten rows more are wrong, none less
    given = {0: Score(0.70, 0.0145, 1.0, hard), 3: Score(0.69, 0.0146, 1.0, worse)}
    assert error_of_difference(given[0], given[3]) == pytest.approx(np.std(hard - worse, ddof=1) / 1000**0.5)
    assert cheapest_within_one_error(given, PRICE) == 0
    assert cheapest_within_one_error({d: Score(*(s.accuracy, s.error, s.loss)) for d, s in given.items()}, PRICE) == 3


def test_what_would_be_chosen_goes_first_then_the_best_of_the_other_half():
    assert preference(scores(0.70, 0.80, 0.79, 0.60), PRICE) == (2, 1, 0, 3)
    assert preference(scores(0.50, 0.60, 0.78, 0.80), PRICE) == (3, 1, 2, 0)
    assert preference(scores(0.80, 0.70, 0.60, 0.75), PRICE) == (0, 3, 1, 2)
    given = {0: Score(0.7, 0, 0.9), 1: Score(0.7, 0, 0.8), 2: Score(0.5, 0, 0.1), 3: Score(0.9, 0, 1.0)}
    assert preference(given, PRICE) == (3, 1, 0, 2)


def test_as_many_go_on_as_can_be_paid():
    cost = {0: 3.0, 1: 2.0, 2: 1.0, 3: 0.1}
    assert affordable((2, 0, 1, 3), cost, limit=10, most=3) == (0, 1, 2)
    assert affordable((2, 0, 1, 3), cost, limit=3, most=3) == (1, 2)
    assert affordable((2, 0, 1, 3), cost, limit=1.1, most=3) == (2, 3)
    assert affordable((0, 3), cost, limit=1, most=3) == (0,)
