import math

import pytest
import torch
from small_net import Net, rows
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.reports import length_sentence
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.contest.flattening import (
    OF_ACCURACY,
    UntilFlat,
    fall_begins,
    falling,
    flattened,
    logged_looks,
)


@pytest.mark.parametrize("number", range(20))
def test_a_curve_that_saturates_is_found_flat_after_it_has_risen(number):
    generator = torch.Generator().manual_seed(number)
    tau = 2 + 6 * torch.rand((), generator=generator).item()
    low, height = (torch.rand(2, generator=generator) * 10 ** (number % 5 - 2)).tolist()
    curve = [low + height * (1 - math.exp(-look / tau)) for look in range(80)]
    begins = fall_begins(list(enumerate(curve)), 3, after=0)
    # the rest of the way after 3 more looks is below a hundredth of it
    assert begins is not None
    assert (curve[begins] - low) / height > 1 - 0.011 / (1 - math.exp(-3 / tau))
    assert begins < 8 * tau + 3


def test_a_curve_that_rises_is_never_flat_and_one_that_does_not_is_at_once():
    rising = [(look, 0.01 * look) for look in range(50)]
    assert fall_begins(rising, 2, after=0) is None
    assert fall_begins([(step, -score) for step, score in rising], 2, after=0) == 2
    assert fall_begins([(step, 0.5) for step in range(9)], 3, after=0) == 3
    assert fall_begins([(step, 0.5) for step in range(9)], 3, after=4) == 7


def test_scale_and_offset_of_a_score_do_not_matter():
    curve = [0.1, 0.5, 0.7, 0.71, 0.705, 0.706]
    for scale, offset in ((1, 0), (1e-6, 3e-6), (1e4, -5e3)):
        assert [flattened([scale * v + offset for v in curve[:n]], 2) for n in range(1, 7)] == [False] * 5 + [True]


def test_a_few_rows_more_are_no_gain_of_accuracy():
    accuracies = [0.9, 0.97, 0.98, 0.982, 0.984]
    assert flattened(accuracies, 2, least=OF_ACCURACY)
    assert not flattened(accuracies, 2)
    assert not flattened([0.9, 0.97, 0.98, 0.982, 0.987], 2, least=OF_ACCURACY)
    looks = [(10 * number, value) for number, value in enumerate(accuracies)]
    assert fall_begins(looks, 2, after=0, least=OF_ACCURACY) == 40
    assert fall_begins(looks, 2, after=0) is None


def test_a_rate_falls_to_zero_along_a_line():
    assert [falling(step, 30, 40) for step in (0, 30, 35, 40, 50)] == [1.0, 1.0, 0.5, 0.0, 0.0]


class Rates(TrainerCallback):
    def __init__(self):
        self.rates = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.rates.append(optimizer.param_groups[0]["lr"])


def train(tmp_path, until, steps=40, **settings):
    seen = Rates()
    args = TrainingArguments(
        str(tmp_path), max_steps=steps, per_device_train_batch_size=4, learning_rate=0.1, use_cpu=True, report_to=[],
        disable_tqdm=True, **{"save_strategy": "no", "lr_scheduler_type": "constant", **settings},
    )  # fmt: skip
    trainer = Trainer(Net(), args, train_dataset=rows(), callbacks=[until, seen])
    trainer.train()
    return trainer, seen.rates


def looks_of(curve, every):
    """State -> a made-up curve, of which a look every so many steps is known."""
    return lambda state: [(step, curve(step)) for step in range(every, state.global_step + 1, every)]


def test_a_run_ends_a_third_of_its_steps_after_its_score_has_flattened(tmp_path):
    until = UntilFlat(Budget(40, 4, patience=2), looks_of(lambda step: min(step, 8), 2), ramp=0.0)
    trainer, rates = train(tmp_path, until)
    assert (until.ended, until.steps, trainer.state.global_step) == ("flat", 16, 16)
    assert rates == pytest.approx([0.1] * 12 + [0.1, 0.075, 0.05, 0.025])


def test_no_score_counts_before_the_method_has_its_full_strength(tmp_path):
    until = UntilFlat(Budget(40, 4, patience=2), looks_of(lambda step: -step, 2), ramp=0.25)
    train(tmp_path, until)
    assert (until.ended, until.steps) == ("flat", 19)  # looks from step 10: flat at 14


def test_the_fall_multiplies_the_users_schedule(tmp_path):
    until = UntilFlat(Budget(40, 4, patience=2), looks_of(lambda step: min(step, 8), 2), ramp=0.0)
    _, rates = train(tmp_path, until, lr_scheduler_type="linear")
    assert rates == pytest.approx([0.1 * (1 - step / 40) * falling(step, 12, 16) for step in range(16)])


def test_a_score_that_rises_goes_on_to_the_cap_and_without_patience_nothing_ends_a_run(tmp_path):
    rising = UntilFlat(Budget(40, 4, patience=2), looks_of(lambda step: step, 2))
    _, rates = train(tmp_path, rising)
    assert (rising.ended, rising.steps) == ("steps", 40)
    assert rates == [0.1] * 40
    asked = UntilFlat(Budget(40, 4), looks_of(lambda step: -step, 2))
    train(tmp_path, asked)
    assert (asked.ended, asked.steps) == ("steps", 40)


class Clock:
    """A second a step, and seconds at the beginning."""

    def __init__(self, seconds=1.0):
        self.seconds, self.now = seconds, 0.0

    def __call__(self):
        self.now += self.seconds
        return self.now


def test_minutes_are_kept_and_the_rate_has_fallen_by_then(tmp_path):
    until = UntilFlat(Budget(400, 4, max_minutes=0.5), looks_of(lambda step: step, 2), clock=Clock())
    _, rates = train(tmp_path, until, steps=400)
    assert until.ended == "minutes"
    assert 25 <= until.steps <= 31
    assert rates[:20] == [0.1] * 20
    assert rates[-1] < 0.02
    assert until.every == 6  # five looks in the 30 steps that half a minute does for


def test_minutes_are_kept_where_steps_become_slower(tmp_path):
    clock = Clock()
    until = UntilFlat(Budget(400, 4, max_minutes=0.5), lambda state: [], clock=clock)

    class Slower(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            clock.seconds = 1.0 if state.global_step < 20 else 4.0

    args = TrainingArguments(
        str(tmp_path), max_steps=400, use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no"
    )
    Trainer(Net(), args, train_dataset=rows(), callbacks=[until, Slower()]).train()
    assert until.ended == "minutes"
    assert 20 < until.steps <= 26
    assert clock.now <= 30 + 2 * 4


def test_validation_figures_of_trainer_end_a_run_as_well(tmp_path):
    metric = iter([0.5, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8])
    until = UntilFlat(Budget(40, 4, patience=2), logged_looks("eval_accuracy"), ramp=0.0)
    args = TrainingArguments(
        str(tmp_path), max_steps=40, use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no",
        eval_strategy="steps", eval_steps=5, label_names=["labels"],
    )  # fmt: skip
    Trainer(
        Net(), args, train_dataset=rows(), eval_dataset=rows(6), callbacks=[until],
        compute_metrics=lambda prediction: {"accuracy": next(metric)},
    ).train()  # fmt: skip
    assert until.ended == "flat"
    assert until.steps == 21 + 7  # seen after the step that follows the evaluation


@pytest.mark.parametrize(
    ("steps", "ended", "words"),
    [
        ([900], ["flat"], "dann ended after 900 of at most 12,000 steps: its score had flattened."),
        (
            [900, 1200],
            ["flat", "flat"],
            "dann ended after 900 to 1,200 of at most 12,000 steps: its score had flattened.",
        ),
        (
            [12000],
            ["steps"],
            "dann was still rising when it was cut after 12,000 steps, the most allowed: try --max_steps 24000 "
            "--patience 3.",
        ),
        (
            [900, 5000],
            ["flat", "minutes"],
            "dann was still rising when it was cut after 900 to 5,000 steps, its 3 minutes over: try --max_minutes 6.",
        ),
    ],
)
def test_it_is_said_how_runs_ended(steps, ended, words):
    assert length_sentence("dann", steps, ended, Budget(12_000, 32, patience=3, max_minutes=3.0)) == words


def test_runs_of_typed_steps_are_not_spoken_of():
    assert length_sentence("dann", [300], ["steps"], Budget(300, 32)) == ""


@pytest.mark.parametrize("given", [{"patience": 0}, {"max_minutes": 0.0}])
def test_a_budget_without_patience_or_time_is_refused(given):
    with pytest.raises(SettingsError, match="must be at least 1, and max_minutes"):
        Budget(10, 4, **given)


class Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop |= state.global_step == self.step


@pytest.mark.parametrize("stopped", range(2, 13, 2))
def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(tmp_path, stopped):
    """Before its score has flattened, at the look that says so, and while the rate falls."""
    curve = lambda state: looks_of(lambda step: min(step, 6), 2)(state)  # noqa: E731
    saved = {"save_strategy": "steps", "save_steps": 2}

    def part(folder, more=(), resume=None):
        until, seen = UntilFlat(Budget(40, 4, patience=2), curve, ramp=0.0), Rates()
        args = TrainingArguments(
            str(tmp_path / folder), max_steps=40, per_device_train_batch_size=4, learning_rate=0.1, use_cpu=True,
            report_to=[], disable_tqdm=True, **saved,
        )  # fmt: skip
        trainer = Trainer(Net(), args, train_dataset=rows(), callbacks=[until, seen, *more])
        trainer.train(resume_from_checkpoint=resume)
        return trainer.model, until, seen.rates

    whole, until, rates = part("whole")
    assert (until.ended, until.steps) == ("flat", 13)
    part("stopped", [Stop(stopped)])
    again, went_on, later = part("stopped", resume=str(tmp_path / "stopped" / f"checkpoint-{stopped}"))
    assert (went_on.ended, went_on.steps) == ("flat", 13)
    assert later == rates[stopped:]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_minutes_that_were_spent_before_a_stop_count(tmp_path):
    def until():
        return UntilFlat(Budget(400, 4, max_minutes=0.5), lambda state: [], clock=Clock())

    train(tmp_path, until(), steps=400, save_strategy="steps", save_steps=4)
    again = until()
    args = TrainingArguments(
        str(tmp_path), max_steps=400, per_device_train_batch_size=4, use_cpu=True, report_to=[], disable_tqdm=True
    )
    Trainer(Net(), args, train_dataset=rows(), callbacks=[again]).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-20")
    )
    assert again.ended == "minutes"
    assert 25 <= again.steps <= 31


def test_the_same_trainer_begins_anew(tmp_path):
    until = UntilFlat(Budget(40, 4, patience=2), looks_of(lambda step: min(step, 8), 2), ramp=0.0)
    trainer, _ = train(tmp_path, until)
    trainer.train()
    assert (until.ended, until.steps) == ("flat", 16)


@pytest.mark.parametrize("scores", [(1, 2), (2, 1), (1, 1)])
def test_of_several_scores_all_must_have_flattened(tmp_path, scores):
    tops = [8 * score for score in scores]
    until = UntilFlat(
        Budget(40, 4, patience=2),
        lambda state: [(step, tuple(min(step, top) for top in tops)) for step, _ in looks_of(float, 2)(state)],
        ramp=0.0,
    )
    train(tmp_path, until)
    begin = max(tops) + 4
    assert (until.ended, until.steps) == ("flat", begin + round(begin / 3))
