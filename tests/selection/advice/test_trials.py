"""Short runs of the likeliest strategies: what they take, what the plan makes of them, and what is kept of them."""

import math
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from advice_cases import tried_case
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from hf_transfer_kit import load_data, prepare_data, recommend
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import NotFiniteError, SettingsError
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.advice import Experience, fit_settings
from hf_transfer_kit.selection.advice import trials as trials_module
from hf_transfer_kit.selection.advice.trials import COUNT, SHARE, trial_steps
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.finetuning.running import run_strategy
from hf_transfer_kit.task_types import TASK_TYPES

PROCESSOR = ViTImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
BUDGET = Budget(12, 16)
NAMES = ("full", "head_only", "freeze_first", "from_scratch")


@pytest.fixture(scope="module")
def data():
    return prepare_data(load_data("digits", train_size=60), PROCESSOR)


def network():
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=10)
    return ResNetForImageClassification(config)


def experience(*, noise=0.02, **accuracy):
    """Cases in which all strategies but from_scratch are about equal."""
    reached = {"full": 0.6, "head_only": 0.6, "freeze_first": 0.6, "from_scratch": 0.1, **accuracy}
    cases = tuple(
        tried_case(
            10 ** (1 + index % 3), target=f"t{index}", noise=noise, seed=index,
            **{name: value + 0.03 * math.sin(7 * index + place) for place, (name, value) in enumerate(reached.items())},
        )
        for index in range(12)
    )  # fmt: skip
    evaluation = {"within_a_point": 0.5, "mean_regret": {}, "trials": {"within_a_point": 0.9, "mean_regret": 0.01}}
    return Experience(cases, fit_settings(cases), "command", evaluation)


def tried(data, folder, **options):
    options = {"experience": experience(), "budget": BUDGET, "cache_dir": folder, "trials": True, **options}
    return recommend(network(), data, **options)


def test_trials_cost_less_than_a_third_of_the_race_and_are_joined_with_what_was_expected(data, tmp_path, monkeypatch):
    steps = []

    def counted(strategy, *given, **options):
        run = run_strategy(strategy, *given, **options)
        steps.append((strategy.name, run.curve[-1].step, options["test"]))
        return run

    monkeypatch.setattr(trials_module, "run_strategy", counted)
    found = tried(data, tmp_path)
    assert len(found.trials.runs) == COUNT
    assert [name for name, *_ in steps] == [run.strategy for run in found.trials.runs]
    assert {(taken, test) for _, taken, test in steps} == {(found.trials.steps, False)}
    spent = sum(taken for _, taken, _ in steps) / (len(NAMES) * BUDGET.max_steps)
    assert spent == pytest.approx(found.trials.share)
    assert spent <= SHARE <= 0.3
    before = {entry.strategy: entry for entry in found.trials.expected}
    after = {entry.strategy: entry for entry in found.outlook}
    for run in found.trials.runs:
        assert 0 <= run.accuracy <= 1
        assert 0 < run.error < 0.2
        assert run.seconds > 0
        assert after[run.strategy].error <= before[run.strategy].error
    assert found.trials.rows == len(data.validation)
    assert found.strategy == found.plan["strategy"] == found.outlook[0].strategy
    assert found.plan["max_steps"] == BUDGET.max_steps
    assert found.confidence == 0.9  # of advice with trials
    words = str(found)
    assert (
        f"Trials of {found.trials.steps} steps were right for so many of {found.trials.rows} validation rows" in words
    )
    assert f"{found.trials.share:.0%} of the training rows of a race" in words
    alone = tried(data, tmp_path, trials=False)
    assert alone.trials is None
    assert alone.outlook == found.trials.expected
    assert alone.confidence == 0.5


def test_the_plan_follows_what_trials_clearly_say(data, tmp_path, monkeypatch):
    """Three strategies that look alike before: whichever is right on a third more of the rows is advised."""
    for chosen in ("full", "head_only", "freeze_first"):

        def given(strategy, make_model, rows, *rest, seed, chosen=chosen, **options):
            run = run_strategy(strategy, make_model, rows, *rest, seed=seed, **options)
            run.validation_correct[:] = np.arange(len(run.validation_correct)) % 6 < (
                5 if strategy.name == chosen else 3
            )
            return run

        monkeypatch.setattr(trials_module, "run_strategy", given)
        assert tried(data, tmp_path).strategy == chosen


def test_trials_that_ended_are_taken_from_the_store(data, tmp_path, monkeypatch):
    """Killed after any number of trials, the same call goes on and ends as if it had not been."""
    whole = tried(data, tmp_path, store=RunStore(tmp_path / "whole"))
    for kill_at in range(COUNT):
        begun = []

        def killed(strategy, *given, begun=begun, kill_at=kill_at, **options):
            begun.append(strategy.name)
            if len(begun) > kill_at:
                raise KeyboardInterrupt
            return run_strategy(strategy, *given, **options)

        store = RunStore(tmp_path / f"killed-{kill_at}")
        with monkeypatch.context() as patched:
            patched.setattr(trials_module, "run_strategy", killed)
            with pytest.raises(KeyboardInterrupt):
                tried(data, tmp_path, store=store)
        assert len(store) == kill_at
        again = []

        def noted(strategy, *given, again=again, **options):
            again.append(strategy.name)
            return run_strategy(strategy, *given, **options)

        with monkeypatch.context() as patched:
            patched.setattr(trials_module, "run_strategy", noted)
            found = tried(data, tmp_path, store=store)
        assert len(again) == COUNT - kill_at
        assert found.outlook == whole.outlook
        assert [(r.strategy, r.accuracy) for r in found.trials.runs] == [
            (r.strategy, r.accuracy) for r in whole.trials.runs
        ]
        assert not list(store.folder.glob("*/changed.safetensors"))


def test_a_trial_that_breaks_is_left_out_and_told(data, tmp_path, monkeypatch):
    names = [run.strategy for run in tried(data, tmp_path).trials.runs]
    for count in range(1, COUNT + 1):

        def broken(strategy, *given, count=count, **options):
            if strategy.name in names[:count]:
                raise NotFiniteError("not finite: the loss of step 3", 3)
            return run_strategy(strategy, *given, **options)

        with monkeypatch.context() as patched:
            patched.setattr(trials_module, "run_strategy", broken)
            found = tried(data, tmp_path)
        assert [run.strategy for run in found.trials.runs] == names[count:]
        assert len(found.trials.broken) == count
        assert any("not finite" in reason for reason in found.reasons)
        if COUNT - count < 2:
            assert found.outlook == found.trials.expected
            assert any("rests on what was expected" in reason for reason in found.reasons)


def test_a_strategy_that_does_not_fit_the_model_is_neither_tried_nor_advised(data, tmp_path):
    known = experience(**{"freeze_first:k=9": 0.9})
    for trials in (True, False):
        found = tried(data, tmp_path, experience=known, trials=trials)
        assert "freeze_first:k=9" not in {entry.strategy for entry in found.outlook}
        assert any("freeze_first:k=9 is left out" in reason and "out of range" in reason for reason in found.reasons)


@pytest.mark.parametrize("strategies", range(1, 9))
@pytest.mark.parametrize("steps", [2, 7, 50, 300])
def test_steps_of_trials_keep_within_their_share(strategies, steps):
    budget, count = Budget(steps, 8), min(COUNT, strategies)
    if SHARE * strategies * steps / count < 1:
        with pytest.raises(SettingsError, match="less than one step"):
            trial_steps(budget, strategies)
    else:
        found = trial_steps(budget, strategies)
        assert 1 <= found <= steps
        assert found * count <= SHARE * strategies * steps


def test_bad_input_is_a_sentence_before_anything_is_measured(data, tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("hf_transfer_kit.selection.advice.recommend"), "measure_case", None)
    with pytest.raises(SettingsError, match="hold no validation rows, so that what a trial is worth is not known"):
        tried(
            data, tmp_path, experience=replace(experience(), settings=replace(experience().settings, trial_error=None))
        )
    none = replace(data, validation=Rows(data.validation.values[:0], data.validation.classes[:0], data.validation.name))
    with pytest.raises(SettingsError, match="There are no validation rows"):
        tried(none, tmp_path)
    with pytest.raises(SettingsError, match="less than one step each"):
        tried(data, tmp_path, budget=Budget(2, 8))
    for given in (
        {"store": RunStore(tmp_path / "runs")},
        {"args": trials_module._usual_arguments(BUDGET, str(tmp_path))},
    ):
        with pytest.raises(SettingsError, match="args and store are of trials"):
            tried(data, tmp_path, trials=False, **given)
    with pytest.raises(SettingsError, match="trials=3"):
        tried(data, tmp_path, trials=3)


@pytest.mark.parametrize("task_type", [name for name in TASK_TYPES if name != "classification"])
@pytest.mark.parametrize("trials", [True, False])
def test_other_tasks_than_classification_are_refused(data, tmp_path, task_type, trials):
    with pytest.raises(SettingsError, match=f"cases of classification, and this is a task of {task_type}"):
        tried(replace(data, task_type=task_type), tmp_path, trials=trials)
