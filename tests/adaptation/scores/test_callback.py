"""Trainer chooses its best checkpoint by a score; nothing of the target's labels is needed, and nothing is disturbed."""

import copy
from pathlib import Path

import adaptation_run
import numpy as np
import pytest
import torch
from torch import nn
from transformers import Trainer
from transformers.data import default_data_collator

from hf_transfer_kit.adaptation import (
    DannMnistConfig,
    DannMnistForImageClassification,
    DomainAdversarialModel,
    DomainCollator,
    DomainPairs,
)
from hf_transfer_kit.adaptation.scores import SCORES, TargetScores, domain_outputs, target_scores
from hf_transfer_kit.errors import DataError, ModelError, SettingsError


def images(count, seed, *, shift=0.0, labels=True):
    generator = torch.Generator().manual_seed(seed)
    rows = [{"pixel_values": shift + torch.randn(3, 28, 28, generator=generator)} for _ in range(count)]
    return [{**row, **({"labels": index % 3} if labels else {})} for index, row in enumerate(rows)]


def collate(rows):
    """Like the kit's own collators, it insists on labels."""
    return {
        "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def model_of(**settings):
    torch.manual_seed(0)
    config = DannMnistConfig(batch_norm=True, num_labels=3)
    return DomainAdversarialModel.from_classifier(DannMnistForImageClassification(config), **settings)


def test_outputs_are_the_models_own_each_domain_with_its_statistics():
    model = model_of()
    for _ in range(2):
        model.train()(**collate(images(8, 0)), target_pixel_values=collate(images(8, 1, shift=2.0))["pixel_values"])
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    source, target = images(7, 2), images(5, 3, shift=2.0, labels=False)
    found = domain_outputs(model, source, target, collate, batch_size=3)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    for domain, rows, logits in (("source", source, found.source_logits), ("target", target, found.target_logits)):
        model.evaluate_as = domain
        with torch.no_grad():
            expected = model(pixel_values=torch.stack([row["pixel_values"] for row in rows])).logits
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    assert found.source_labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    classified = model.label_head.classify(torch.from_numpy(found.target_features))
    np.testing.assert_allclose(classified.detach().numpy(), found.target_logits, atol=1e-5)


def test_labels_of_the_target_change_nothing_and_many_rows_are_thinned_evenly():
    model, source = model_of(), images(6, 0)
    without = domain_outputs(model, source, images(9, 1, labels=False), collate)
    with_labels = domain_outputs(model, source, images(9, 1), collate)
    np.testing.assert_array_equal(without.target_logits, with_labels.target_logits)
    thinned = domain_outputs(model, source, images(9, 1), collate, max_rows=3)
    np.testing.assert_allclose(thinned.target_logits, without.target_logits[[0, 4, 8]], atol=1e-6)


@pytest.mark.parametrize("parts", [False, True])
def test_trainer_chooses_by_a_score(training_arguments, parts):
    source, target = images(12, 0), images(12, 1, shift=1.0, labels=False)
    callback = TargetScores(images(9, 2), images(9, 3, shift=1.0, labels=False), collate, scores=["bnm", "snd"])
    args = training_arguments(
        max_steps=6,
        per_device_train_batch_size=4,
        learning_rate=0.1,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=2,
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_bnm",
        greater_is_better=True,
    )
    held_out = images(6, 4)
    model = model_of()
    trainer = Trainer(
        model,
        args,
        train_dataset=DomainPairs(source, target),
        eval_dataset={"first": held_out, "second": held_out} if parts else held_out,
        data_collator=DomainCollator(collate),
        callbacks=[callback],
    )
    trainer.train()
    logged = {entry["step"]: entry for entry in trainer.state.log_history if "eval_bnm" in entry}
    assert set(logged) == {2, 4, 6}
    assert all(0 < entry["eval_bnm"] <= 1 and entry["eval_snd"] > 0 for entry in logged.values())
    best = max(logged, key=lambda step: logged[step]["eval_bnm"])
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    assert trainer.state.best_metric == pytest.approx(logged[best]["eval_bnm"])
    outputs = domain_outputs(model, callback.source, callback.target, collate)
    assert target_scores(outputs, ["bnm"])["bnm"] == pytest.approx(trainer.state.best_metric, abs=1e-6)


def test_choosing_the_wrong_way_round_is_refused(training_arguments):
    args = training_arguments(metric_for_best_model="eval_mean_entropy")
    with pytest.raises(SettingsError, match=r"would choose the worst checkpoint. Set greater_is_better=False"):
        Trainer(model_of(), args, callbacks=[TargetScores(images(2, 0), images(2, 1), collate)])
    args = training_arguments(metric_for_best_model="eval_mean_entropy", greater_is_better=False)
    Trainer(model_of(), args, callbacks=[TargetScores(images(2, 0), images(2, 1), collate)])


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingsError, match="'magic' is unknown"):
        TargetScores([], [], collate, scores=["magic"])
    with pytest.raises(SettingsError, match="max_rows=1 is out of range"):
        TargetScores([], [], collate, max_rows=1)
    with pytest.raises(ModelError, match="Linear shows no features beside its logits"):
        domain_outputs(nn.Linear(2, 2), images(2, 0), images(2, 1), collate)
    with pytest.raises(DataError, match="The target has no rows to compute scores on"):
        domain_outputs(model_of(), images(2, 0), [], collate)
    with pytest.raises(DataError, match="Source rows came without labels"):
        domain_outputs(model_of(), images(2, 0, labels=False), images(2, 1), default_data_collator)
    assert "dev" in SCORES


TWO = """
import sys
import torch
sys.path.insert(0, sys.argv[2])
import adaptation_run
from torch.utils.data import default_collate
from hf_transfer_kit.adaptation import MeanTeacher, TargetScores
scores = TargetScores(adaptation_run.rows(6, 5), adaptation_run.rows(6, 6), default_collate, scores=["bnm", "snd"])
teacher = MeanTeacher(0.9, finish="teacher")
run = adaptation_run.trainer(
    sys.argv[1], scores, teacher, per_device_train_batch_size=4, max_steps=2, ddp_backend="gloo",
    eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1, metric_for_best_model="eval_bnm",
)
run.train()
logged = [entry["eval_bnm"] for entry in run.state.log_history if "eval_bnm" in entry]
weight = next(run.model.parameters()).detach().flatten()
found = [None, None]
torch.distributed.all_gather_object(found, (logged, run.state.best_metric, weight.tolist()))
assert len(logged) == 2 and run.state.best_metric in logged, (logged, run.state.best_metric)
assert found[0] == found[1], "processes differ"
"""


def test_two_processes_see_the_same_scores_and_teacher(tmp_path, two_processes):
    two_processes(TWO, tmp_path / "two", Path(adaptation_run.__file__).parent)
    assert (tmp_path / "two" / "checkpoint-2" / "mean_teacher.safetensors").is_file()
