"""The range test drives the rates of the stock Trainer and leaves no trace."""

import copy
import random

import numpy as np
import pytest
import torch
from term_cases import FAMILIES, assert_same_state, case, num_hooks, state_of
from transformers import Trainer, TrainerCallback

from hf_transfer_kit import FreezeLayers, layerwise_optimizer
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning import BSS
from hf_transfer_kit.tuning.rate_finder import find_learning_rate, rate_at, rate_curve, smoothed_losses


def random_states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


class Watching(TrainerCallback):
    """Notes the rates at each step, and what was frozen."""

    def __init__(self):
        self.rates = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.rates.append([group["lr"] for group in optimizer.param_groups])


@pytest.fixture
def make(training_arguments):
    def maker(model, rows, *callbacks, optimizer=None, **settings):
        given = {"per_device_train_batch_size": 3, "learning_rate": 1e-3, "optim": "sgd", "max_grad_norm": 0.0}
        args = training_arguments(**{**given, **settings})
        return lambda: Trainer(
            model,
            args,
            train_dataset=rows,
            eval_dataset=rows,
            callbacks=list(callbacks),
            optimizer_cls_and_kwargs=None if optimizer is None else optimizer(model, args),
        )

    return maker


def test_rates_grow_exponentially():
    rates = [rate_at(step, start=1e-4, end=1.0, steps=5) for step in range(5)]
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_smoothing_is_a_corrected_running_mean():
    assert smoothed_losses([2.0, 2.0, 2.0], 0.9) == pytest.approx([2.0, 2.0, 2.0])
    mean = smoothed_losses([1.0, 3.0], 0.5)
    assert mean == pytest.approx([1.0, (0.5 * 0.5 * 1 + 0.5 * 3) / 0.75])


def test_suggestions_of_a_known_curve():
    rates = np.logspace(-6, 0, 61)
    losses = 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 3))) + np.where(rates > 0.1, 30 * (rates - 0.1), 0)
    curve = rate_curve(rates.tolist(), losses.tolist(), smoothing=0.0)
    assert np.log10(curve.steepest) == pytest.approx(-3, abs=0.11)
    assert np.log10(curve.tenth_of_minimum) == pytest.approx(-2, abs=0.11)
    rising = rate_curve([1e-3, 1e-2, 1e-1], [1.0, 2.0, 3.0], smoothing=0.0)
    assert rising.steepest == rising.tenth_of_minimum == 1e-3
    cut = rate_curve([1e-3, 1e-2, 1e-1], [1.0, 0.5, float("nan")], smoothing=0.0)
    assert cut.losses == (1.0, 0.5)
    with pytest.raises(SettingsError, match="not finite at the first step"):
        rate_curve([1e-3], [float("nan")], smoothing=0.0)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_everything_is_as_before(make, family, tmp_path):
    model, rows = case(family)
    torch.randn(3), np.random.rand(), random.random()
    before, states = state_of(model), random_states()
    settings = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    curve = find_learning_rate(make(model, rows, BSS(), **settings), steps=8, end=0.1, diverged=1e9)
    assert len(curve.rates) == len(curve.losses) == 8
    assert len(set(curve.losses)) > 1
    assert_same_state(before, state_of(model))
    assert random_states() == states
    assert all(parameter.grad is None for parameter in model.parameters())
    assert num_hooks(model) == 0
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_training_afterwards_is_training_without_the_test(make):
    states = []
    for look in (False, True):
        model, rows = case("bert")
        if look:
            find_learning_rate(make(model, rows), steps=6)
        make(model, rows, max_steps=3)().train()
        states.append(state_of(model))
    assert_same_state(*states)


def test_the_losses_are_the_trainers(make):
    model, rows = case("bert")
    curve = find_learning_rate(make(model, rows), start=1e-9, end=1e-8, steps=5)
    trainer = make(copy.deepcopy(model), rows, max_steps=5, learning_rate=1e-12)()
    trainer.train()
    expected = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert curve.losses == pytest.approx(expected, abs=1e-5)


def test_groups_keep_the_ratio_of_their_rates_and_frozen_layers_stay(make):
    def decayed(model, args):
        return layerwise_optimizer(model, args, decay=0.5)

    model, rows = case("bert")
    watching, weights = Watching(), []

    class Frozen(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            weights.append(model.bert.embeddings.word_embeddings.weight.clone())

    freeze = FreezeLayers(first=1, quiet=True)
    find_learning_rate(make(model, rows, freeze, watching, Frozen(), optimizer=decayed), start=1e-4, end=1.0, steps=5)
    head = [max(rates) for rates in watching.rates]
    assert head == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0][: len(head)])
    for rates in watching.rates:
        factors = sorted({round(rate / max(rates), 9) for rate in rates})
        assert factors == pytest.approx([0.0625, 0.125, 0.25, 0.5, 1.0])
    assert all(torch.equal(weight, weights[0]) for weight in weights)


def test_it_stops_when_the_loss_runs_away(make):
    model, rows = case("bert")
    curve = find_learning_rate(make(model, rows), start=1e-3, end=1e6, steps=40, smoothing=0.0)
    assert len(curve.rates) < 40
    assert curve.losses[-1] > min(curve.losses)
    assert all(np.isfinite(curve.losses))


def test_accumulation_takes_one_rate_a_step(make):
    model, rows = case("bert")
    curve = find_learning_rate(
        make(model, rows, gradient_accumulation_steps=2, per_device_train_batch_size=1), start=1e-5, end=1e-1, steps=5
    )
    assert curve.rates == pytest.approx((1e-5, 1e-4, 1e-3, 1e-2, 1e-1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 1.0, "end": 0.1}, "two rates above 0"),
        ({"steps": 4}, "at least 5"),
        ({"smoothing": 1.0}, r"outside \[0, 1\)"),
        ({"diverged": 1.0}, "above 1"),
    ],
)
def test_settings_are_checked_at_once(settings, message):
    with pytest.raises(SettingsError, match=message):
        find_learning_rate(None, **settings)


def test_a_rate_of_zero_has_no_ratio(make):
    model, rows = case("bert")
    before = state_of(model)
    with pytest.raises(SettingsError, match="keeps the ratio"):
        find_learning_rate(make(model, rows, learning_rate=0.0))
    assert_same_state(before, state_of(model))
