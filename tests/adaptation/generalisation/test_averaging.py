"""SWAD: where the flat region lies, that the mean is of its steps, and that a resumed run has the same."""

import pytest
import torch
from torch.utils.data import default_collate
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.adaptation import (
    SWAD,
    ReshuffleSources,
    SeveralSources,
    SeveralSourcesModel,
    SourcesCollator,
    flat_region,
)
from hf_transfer_kit.errors import SettingsError

import tiny  # isort: skip


@pytest.mark.parametrize(("losses", "region"), [
    ([], (None, None)),
    ([3, 2], (None, None)),
    ([5, 4, 3, 2, 1], (None, None)),  # still falling
    ([5, 4, 3, 3.1, 3.2], (2, None)),
    ([5, 1, 1, 1, 9, 1], (1, None)),  # one low loss keeps it open
        ([5, 1, 1, 1, 9, 1, 9, 9], (1, 6)),
    ([5, 1, 1, 1, 9, 9], (1, 4)),
    ([5, 1, 1, 1, 1.3, 1.3, 1.31, 1.31], (1, 6)),  # the limit is 1.3, and must be exceeded
    ([1, 9, 9], (0, 1)),  # the limit is 1.3 times the mean, 8.2
    ([1, 9, 9, 9], (0, 1)),
])  # fmt: skip
def test_the_region_begins_at_a_minimum_and_ends_above_the_limit(losses, region):
    assert flat_region(losses, start_patience=3, end_patience=2, tolerance=0.3) == region


class Weights(TrainerCallback):
    """The weights after every step, and losses that a test makes up."""

    def __init__(self, losses):
        self.losses = list(losses)
        self.seen = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.seen.append([p.detach().clone() for p in model.parameters()])

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        metrics["eval_loss"] = self.losses[state.global_step // 2 - 1]


class Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


def rows(count, shift=0.0, seed=0):
    images = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) + shift
    return [{"pixel_values": image, "labels": i % 3} for i, image in enumerate(images)]


def trainer(folder, losses, *callbacks, swad=None, **settings):
    torch.manual_seed(0)
    network = tiny.TRANSFORMERS["resnet"]()[0]
    sources = SeveralSources({"one": rows(12, 0.0, 1), "two": rows(8, 1.0, 2)})
    model = SeveralSourcesModel.from_classifier(
        network, sources=sources.names, method="group_dro", batch_norm="per_domain"
    )
    given = {
        "max_steps": 16, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no", "learning_rate": 0.05,
    }  # fmt: skip
    args = TrainingArguments(
        str(folder),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        per_device_train_batch_size=4,
        **{**given, **settings},
    )
    weights = Weights(losses)
    options = {"start_patience": 3, "end_patience": 2, **(swad or {})}
    average = SWAD(sources, default_collate, **options)
    run = Trainer(
        model, args, train_dataset=sources, eval_dataset=rows(4), data_collator=SourcesCollator(default_collate),
        callbacks=[ReshuffleSources(), weights, average, *callbacks],
    )  # fmt: skip
    return run, average, weights


CASES = {
    "to the end": ([5, 3, 3, 3, 3, 3, 3, 3], (3, 16)),
    "an end inside": ([5, 3, 3, 3, 3, 9, 9, 9], (3, 10)),
    "the end is told late": ([5, 3, 3, 3, 9, 3, 9, 9], (3, 12)),
    "never flat": ([8, 7, 6, 5, 4, 3, 2, 1], (15, 16)),
    "from the first step": ([1, 2, 2, 2, 2, 2, 2, 2], (1, 16)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_mean_is_of_the_steps_of_the_region(case, tmp_path):
    losses, steps = CASES[case]
    run, average, weights = trainer(tmp_path, losses)
    run.train()
    assert average.steps == steps
    wanted = [torch.stack(each).mean(0) for each in zip(*weights.seen[steps[0] - 1 : steps[1]], strict=True)]
    for parameter, mean in zip(run.model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.detach(), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stop", [4, 10, 12, 14])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(stop, tmp_path):
    losses, _ = CASES["an end inside"]
    whole, _, _ = trainer(tmp_path / "whole", losses)
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": 2}
    trainer(tmp_path / "cut", losses, Stop(stop), **saving)[0].train()
    resumed, average, _ = trainer(tmp_path / "cut", losses, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{stop}"))
    assert average.steps == (3, 10)
    state = whole.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in resumed.model.state_dict().items())


@pytest.mark.parametrize(("settings", "words"), [
    ({"eval_strategy": "no"}, "Give eval_strategy='steps'"),
    ({"load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 2}, "leave load_best_model_at_end out"),
])  # fmt: skip
def test_what_does_not_go_together_is_told_before_training(settings, words, tmp_path):
    run, _, weights = trainer(tmp_path, [1] * 8, **settings)
    with pytest.raises(SettingsError, match=words):
        run.train()
    assert weights.seen == []


def test_batch_norm_without_rows_and_an_unknown_loss_are_told(tmp_path):
    run, average, _ = trainer(tmp_path, [1] * 8)
    average.sources = None
    with pytest.raises(SettingsError, match=r"Give SWAD\(sources, collator\)"):
        run.train()
    run, _, weights = trainer(tmp_path, [1] * 8, swad={"metric": "eval_los"})
    with pytest.raises(SettingsError, match=r"finds no such metric; the evaluation gave .*eval_loss"):
        run.train()
    assert len(weights.seen) == 2
    with pytest.raises(SettingsError, match="SWAD: start_patience=0"):
        SWAD(start_patience=0)
