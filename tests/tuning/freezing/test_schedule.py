"""The stage is a pure function of finished steps and logged evaluations."""

import math

import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.freezing.schedule import (
    Horizon,
    Plateau,
    Stage,
    end_of,
    parse_span,
    stage_at,
    step_of,
    steps_in,
)

HORIZON = Horizon(max_steps=100, steps_per_epoch=30)


@pytest.mark.parametrize(
    ("span", "steps"),
    [
        ("200 steps", 200),
        ("1 step", 1),
        ("1 epoch", 30),
        ("2 epochs", 60),
        ("0.5 epochs", 15),
        ("0.05epoch", 2),
        ("30 %", 30),
        ("100%", 100),
        (0.3, 30),
        (1, 100),
        (0.001, 1),
        (0.1 + 0.2, 30),
    ],
)
def test_spans_count_steps_rounded_up(span, steps):
    assert step_of(span, HORIZON) == steps


@pytest.mark.parametrize("span", ["", "two epochs", "1 day", "-1 epoch", "0 steps", 0, 1.5, -0.1, "101 %", True, None])
def test_other_spans_are_refused(span):
    with pytest.raises(
        SettingsError, match=r'is no span of training: give "2 epochs", "200 steps", or a number above 0'
    ):
        parse_span(span)


def test_multiples_of_a_share_meet_whole_steps():
    assert [steps_in(0.1 * k, "share", HORIZON) for k in range(1, 12)] == list(range(10, 120, 10))


def test_epochs_need_a_dataset_with_a_length():
    with pytest.raises(SettingsError, match="2 epochs cannot be counted, since the training dataset has no length"):
        step_of("2 epochs", Horizon(100, None))


def test_stages_follow_each_other_at_their_ends():
    stages = [Stage("a", frozenset("a"), until=10), Stage("b", frozenset("b"), until=10), Stage("c", frozenset("c"))]
    assert [stage_at(step, stages) for step in (0, 9, 10, 11, 1000)] == [(0, 0), (0, 0), (2, 10), (2, 10), (2, 10)]


def history(*values, every=10, key="eval_loss"):
    return [{key: value, "step": every * (number + 1)} for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "patience", "end"),
    [
        ([3, 2, 1], 1, None),
        ([1, 1], 1, 20),
        ([1, 2, 3], 2, 30),
        ([3, 4, 2, 4, 4], 2, 50),
        ([math.nan, math.nan, math.nan], 2, 30),
        ([math.nan, 1, 2], 1, 30),
    ],
)
def test_a_plateau_ends_when_patience_runs_out(values, patience, end):
    stage = Stage("a", frozenset(), plateau=Plateau("loss", patience))
    assert end_of(stage, 0, 1000, history(*values)) == end


def test_a_plateau_knows_the_direction_and_what_counts():
    rising = history(0.5, 0.6, 0.7, key="eval_accuracy")
    falling = history(0.7, 0.6, key="eval_accuracy")
    accuracy = Plateau("accuracy", 1)
    assert end_of(Stage("a", frozenset(), plateau=accuracy), 0, 100, rising) is None
    assert end_of(Stage("a", frozenset(), plateau=accuracy), 0, 100, falling) == 20
    assert (
        end_of(Stage("a", frozenset(), plateau=Plateau("accuracy", 1, greater_is_better=False)), 0, 100, falling)
        is None
    )
    assert end_of(Stage("a", frozenset(), plateau=Plateau("accuracy", 1, min_delta=0.2)), 0, 100, rising) == 20


def test_a_plateau_counts_from_the_beginning_of_its_stage_and_not_beyond_now():
    stages = [Stage(name, frozenset(), plateau=Plateau("loss", 2)) for name in "ab"] + [Stage("c", frozenset())]
    log = history(1, 1, 1, 1, 1)
    assert [stage_at(step, stages, log) for step in (0, 29, 30, 40, 49, 50)] == [
        (0, 0),
        (0, 0),
        (1, 30),
        (1, 30),
        (1, 30),
        (2, 50),
    ]


def test_whichever_comes_first():
    stage = Stage("a", frozenset(), until=25, plateau=Plateau("loss", 2))
    assert end_of(stage, 0, 100, history(1, 1, 1)) == 25
    assert end_of(stage, 0, 100, history(1, 1, 1, every=5)) == 15


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"metric": "", "patience": 1}, "metric='' is no name of a metric"),
        ({"metric": "loss", "patience": 0}, "patience=0 must be a whole number of evaluations, at least 1"),
        ({"metric": "loss", "patience": True}, "patience=True must be"),
        ({"metric": "loss", "patience": 1, "min_delta": -1.0}, "min_delta=-1.0 is out of range"),
    ],
)
def test_wrong_plateaus_are_refused(settings, sentence):
    with pytest.raises(SettingsError, match=sentence):
        Plateau(**settings)
