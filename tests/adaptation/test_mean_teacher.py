"""The average is the formula, teaches the step's target rows, and survives a resume bit for bit."""

import copy

import pytest
import torch
from domain_batches import CLASSES, WIDTH, AdaptedNet, rows_of_two_domains
from transformers import Trainer, TrainingArguments

from hf_transfer_kit.adaptation.mean_teacher import FILE, MeanTeacher
from hf_transfer_kit.adaptation.objectives import OBJECTIVES
from hf_transfer_kit.errors import SettingsError


def trained(folder, callback, *, steps=6, resume=None, name="self_training", **extra):
    torch.manual_seed(0)
    options = {"threshold": 0.0} if name == "self_training" else {}
    model = AdaptedNet(OBJECTIVES[name](width=WIDTH, num_labels=CLASSES, **options))
    args = TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=0.05,
        lr_scheduler_type="constant",
        save_steps=3,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        **extra,
    )
    Trainer(model, args, train_dataset=rows_of_two_domains(), callbacks=[callback]).train(resume)
    return model


def test_the_teacher_is_the_average_of_the_students_and_teaches_the_steps_rows(tmp_path):
    seen = []

    class Watched(MeanTeacher):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            self.expected = copy.deepcopy(self.teacher)

        def on_step_end(self, args, state, control, model=None, **kwargs):
            expected = copy.deepcopy(self.teacher)
            decay = min(0.5, (1 + state.global_step) / (10 + state.global_step))
            for own, new in zip(expected.parameters(), model.parameters(), strict=True):
                own.data.mul_(decay).add_(new.data, alpha=1 - decay)
            super().on_step_end(args, state, control, model=model, **kwargs)
            for own, other in zip(self.teacher.parameters(), expected.parameters(), strict=True):
                torch.testing.assert_close(own, other)
            seen.append(model.objective.teacher_logits)

    callback = Watched(0.5)
    model = trained(tmp_path, callback)
    assert len({tuple(logits.flatten().tolist()) for logits in seen}) == 6
    assert all(logits.shape == (4, CLASSES) and not logits.requires_grad for logits in seen)
    assert not model._forward_pre_hooks
    assert not callback.teacher.training


def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path):
    whole = trained(tmp_path / "whole", MeanTeacher(0.9, finish="teacher"))
    trained(tmp_path / "parts", MeanTeacher(0.9), steps=3)
    assert (tmp_path / "parts" / "checkpoint-3" / FILE).is_file()
    resumed = trained(tmp_path / "parts", MeanTeacher(0.9, finish="teacher"), resume=True)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key])


def test_at_the_end_the_model_is_whom_one_asked_for(tmp_path):
    callbacks = {finish: MeanTeacher(0.9, finish=finish) for finish in ("student", "teacher")}
    models = {finish: trained(tmp_path / finish, callback, name="dann") for finish, callback in callbacks.items()}
    teacher = callbacks["student"].teacher.state_dict()
    assert all(torch.equal(value, teacher[key]) for key, value in models["teacher"].state_dict().items())
    assert not torch.equal(models["student"].head.weight, models["teacher"].head.weight)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"MeanTeacher: decay=1.5 is out of range"):
        MeanTeacher(1.5)
    with pytest.raises(SettingsError, match="choose 'student' or 'teacher'"):
        MeanTeacher(finish="best")
    trained(tmp_path, MeanTeacher(), steps=3)
    (tmp_path / "checkpoint-3" / FILE).unlink()
    with pytest.raises(SettingsError, match=rf"resumes at step 3, and no {FILE} lies in"):
        trained(tmp_path, MeanTeacher(), resume=True)
    with pytest.raises(SettingsError, match=r"Leave out one of them"):
        trained(
            tmp_path, MeanTeacher(finish="teacher"), load_best_model_at_end=True, eval_strategy="no", save_strategy="best",
            metric_for_best_model="loss",
        )  # fmt: skip
