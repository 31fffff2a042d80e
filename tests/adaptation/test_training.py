"""Adaptation in the stock Trainer: logged, evaluated, resumed bit for bit, the same in two processes."""

import math
from pathlib import Path

import adaptation_run
import pytest
import torch


def test_the_stock_trainer_trains_logs_and_evaluates(tmp_path):
    seen = adaptation_run.Seen()
    run = adaptation_run.trainer(tmp_path, seen)
    run.train()
    logs = [entry for entry in run.state.log_history if "loss" in entry]
    assert len(logs) == 6
    for step, entry in enumerate(logs):
        assert entry["class_loss"] + entry["domain_loss"] == pytest.approx(entry["loss"], abs=2e-4)
        assert entry["adversarial_strength"] == pytest.approx(math.tanh(5 * step / 6), abs=1e-6)
        assert seen.steps[step] == pytest.approx((step / 6, math.tanh(5 * step / 6)), abs=1e-6)
    metrics = run.evaluate()
    assert metrics["eval_loss"] > 0


@pytest.mark.parametrize(
    "settings",
    [{"bf16": True}, {"torch_compile": True, "torch_compile_backend": "eager"}, {"gradient_accumulation_steps": 2}],
)
def test_settings_of_the_trainer_leave_the_step_what_it_is(tmp_path, settings):
    logs = []
    for given in ({}, settings):
        torch.compiler.reset()
        size = 8 // given.get("gradient_accumulation_steps", 1)
        run = adaptation_run.trainer(tmp_path, layers=False, max_steps=3, per_device_train_batch_size=size, **given)
        run.train()
        logs.append([entry for entry in run.state.log_history if "loss" in entry])
    for plain, other in zip(*logs, strict=True):
        for name in ("loss", "class_loss", "domain_loss", "adversarial_strength"):
            assert other[name] == pytest.approx(plain[name], rel=2e-2 if "bf16" in settings else 1e-4)


def test_labels_of_the_target_change_nothing(tmp_path):
    weights = []
    for labels in (False, True):
        run = adaptation_run.trainer(tmp_path, target_labels=labels, max_steps=2)
        run.train()
        weights.append(run.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, stop):
    whole_seen, resumed_seen = adaptation_run.Seen(), adaptation_run.Seen()
    whole = adaptation_run.trainer(tmp_path / "whole", whole_seen)
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": 1}
    adaptation_run.trainer(tmp_path / "cut", adaptation_run.Seen(stop_after=stop), **saving).train()
    resumed = adaptation_run.trainer(tmp_path / "cut", resumed_seen, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{stop}"))
    assert resumed_seen.steps == {step: seen for step, seen in whole_seen.steps.items() if step >= stop}
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())


def test_two_processes_equal_one_with_every_method(tmp_path, two_processes, monkeypatch):
    two_processes(Path(adaptation_run.__file__).read_text(), tmp_path)
    two = torch.load(tmp_path / "found.pt", weights_only=True)
    monkeypatch.setattr(torch, "randn_like", torch.randn_like)  # taken back after the test
    wrong = {}
    for method, (losses, weights) in adaptation_run.all_methods(tmp_path, 1).items():
        other_losses, others = two[method]
        furthest = max((value - others[name]).abs().max().item() for name, value in weights.items())
        if other_losses != pytest.approx(losses, rel=1e-4) or furthest > 1e-5:
            wrong[method] = (furthest, losses, other_losses)
    assert not wrong, wrong
