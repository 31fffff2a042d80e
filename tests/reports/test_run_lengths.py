"""How long runs went on, in words."""

import pytest

from hf_transfer_kit.reports import budget_sentence, race_lengths
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.values import CurvePoint, StrategyResult


def result(name, values, metric="accuracy", steps=(50,), ended=("steps",)):
    curve = tuple(CurvePoint(10 * (place + 1), accuracy=value) for place, value in enumerate(values))
    curve = (*curve, CurvePoint(99, train_loss=0.1))  # a point that looked at no validation row
    return StrategyResult(name, "", (0,), {metric: 0.0}, {}, curve=curve, metric=metric, steps=steps, ended=ended)


CLOSED = Budget(50, 32)


def told(*results, budget=CLOSED, chosen_by_user=False, rows=100):
    by_name = {entry.strategy: entry for entry in results}
    return race_lengths(by_name, budget, chosen_by_user=chosen_by_user, validation_rows=rows)


RISES, FLAT, FALLS = [0.2, 0.5, 0.8, 0.85, 0.9], [0.2, 0.9, 0.9, 0.9, 0.9], [0.2, 0.9, 0.9, 0.9, 0.5]


def test_who_was_still_rising_is_told_in_one_sentence():
    sentence = "a, b were still rising after the 50 steps of a run: more may change the figures (--max_steps 200 --patience 3)."
    assert told(result("a", RISES), result("c", FLAT), result("b", RISES), result("d", FALLS)) == [sentence]
    assert told(result("c", FLAT), result("d", FALLS)) == []
    assert told(result("a", RISES), chosen_by_user=True) == []
    assert told(result("a", [0.5])) == []


@pytest.mark.parametrize(("rows", "rising"), [(1000, True), (60, True), (30, False)])
def test_two_rows_more_are_no_rise(rows, rising):
    assert bool(told(result("a", RISES), rows=rows)) == rising


def test_a_metric_that_falls_rises():
    assert told(result("a", [5.0, 4.0, 3.0, 2.0, 1.0], metric="mse"), rows=2)
    assert not told(result("a", [1.0, 2.0, 3.0, 4.0, 5.0], metric="mse"), rows=2)


def test_an_open_run_has_a_sentence_of_its_own():
    budget = Budget(400, 32, evaluations=20, patience=3, max_minutes=3.0)
    (sentence,) = told(result("a", RISES, steps=(400,)), budget=budget)
    assert (
        sentence
        == "a was still rising when it was cut after 400 steps, the most allowed: try --max_steps 800 --patience 3."
    )
    assert told(result("a", FLAT, steps=(90, 120), ended=("flat", "flat")), budget=budget) == [
        "a ended after 90 to 120 of at most 400 steps: its score had flattened."
    ]
    assert budget_sentence(budget).endswith("after at most 400 steps and 3 minutes")
    assert budget_sentence(Budget(400, 32, max_minutes=2.0)) == "a run ends after at most 400 steps and 2 minutes"
