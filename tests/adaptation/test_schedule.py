"""Schedules in closed form, and what the callback writes, at the start and after a resume."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_transfer_kit.adaptation import AdversarialSchedule, constant_strength, dann_strength, linear_strength
from hf_transfer_kit.errors import SettingsError


class _Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("strength", torch.ones(()))
        self.register_buffer("progress", torch.zeros(()))


def test_closed_forms():
    assert dann_strength(0.0) == 0.0
    assert dann_strength(1.0) == pytest.approx(math.tanh(5.0))  # 2 / (1 + exp(-x)) - 1 = tanh(x / 2)
    assert dann_strength(0.3, gamma=4.0) == pytest.approx(math.tanh(0.6))
    assert [linear_strength(0.3), constant_strength(0.3)] == [0.3, 1.0]


@pytest.mark.parametrize("event", ["on_train_begin", "on_step_begin"])
@pytest.mark.parametrize(
    ("schedule", "options", "expected"),
    [
        ("dann", {}, math.tanh(5 * 0.25)),
        ("dann", {"gamma": 2.0, "highest": 0.5}, 0.5 * math.tanh(0.25)),
        ("linear", {"highest": 2.0}, 0.5),
        ("constant", {}, 1.0),
        (lambda p: p * p, {}, 0.0625),
    ],
)
def test_buffers_follow_the_finished_steps_in_place(event, schedule, options, expected):
    model = _Model()
    before = model.strength
    state = SimpleNamespace(global_step=50, max_steps=200)
    getattr(AdversarialSchedule(schedule, **options), event)(None, state, None, model=nn.Module.train(model))
    assert model.strength is before
    assert float(model.strength) == pytest.approx(expected)
    assert float(model.progress) == 0.25


def test_all_of_the_ramp_lies_within_a_share_of_the_run():
    model, schedule = _Model(), AdversarialSchedule("linear", within=0.25)
    found = []
    for step in (0, 10, 25, 60, 100):
        schedule.on_step_begin(None, SimpleNamespace(global_step=step, max_steps=100), None, model=model)
        found.append(float(model.progress))
    assert found == pytest.approx([0.0, 0.4, 1.0, 1.0, 1.0])
    with pytest.raises(SettingsError, match="within=0 is a share of the run's steps"):
        AdversarialSchedule(within=0)


def test_wrong_settings_are_sentences():
    with pytest.raises(SettingsError, match="schedule='cosine' is unknown; choose 'dann'"):
        AdversarialSchedule("cosine")
    with pytest.raises(SettingsError, match="highest=-1"):
        AdversarialSchedule(highest=-1)
    with pytest.raises(SettingsError, match="belongs to schedule='dann'"):
        AdversarialSchedule("linear", gamma=3.0)
    state = SimpleNamespace(global_step=0, max_steps=1)
    with pytest.raises(SettingsError, match="Linear has no 'progress'"):
        AdversarialSchedule().on_step_begin(None, state, None, model=nn.Linear(1, 1))
