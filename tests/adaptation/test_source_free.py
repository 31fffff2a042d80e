"""Adaptation without a row of the source: formulas, what moves, the stock Trainer, resume, saving."""

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch.utils.data import default_collate
from transformers import AutoModel, Trainer, TrainingArguments

from hf_transfer_kit import DomainAdversarialModel, DomainCollator, PseudoLabels, TargetRows
from hf_transfer_kit.adaptation import SOURCE_FREE, AdversarialSchedule, MeanTeacher, target_outputs
from hf_transfer_kit.adaptation.objectives.shot import centroid_labels
from hf_transfer_kit.errors import ModelError, SettingsError

FAMILIES = ("resnet", "wrapped/resnet18", "bert", "wrapped/vit_tiny_patch16_224")


def rows_of(family, count=12):
    draw = torch.Generator().manual_seed(0)
    if family == "bert":
        return [{"input_ids": torch.randint(5, 40, (6,), generator=draw), "labels": i % 3} for i in range(count)]
    return [{"pixel_values": torch.randn(3, 32, 32, generator=draw), "labels": i % 3} for i in range(count)]


def model_of(name, family="resnet", **options):
    torch.manual_seed(0)
    return DomainAdversarialModel.from_classifier(tiny.classifiers()[family]()[0], method=name, method_options=options)


def trainer_of(model, rows, folder, **changes):
    args = TrainingArguments(
        folder, max_steps=4, per_device_train_batch_size=4, learning_rate=1e-2, use_cpu=True, report_to=[],
        disable_tqdm=True, **{"save_strategy": "no", **changes},
    )  # fmt: skip
    callbacks = [AdversarialSchedule()]
    if model.config.method == "shot":
        callbacks.append(PseudoLabels(rows, default_collate))
    if model.config.method == "self_training":
        callbacks.append(MeanTeacher(0.9))
    return Trainer(
        model, args, train_dataset=TargetRows(rows), data_collator=DomainCollator(default_collate), callbacks=callbacks
    )


def test_labels_of_nearest_centres_are_those_of_the_paper():
    torch.manual_seed(0)
    features, probabilities = torch.randn(30, 5).double(), torch.randn(30, 3).double().mul(3).softmax(1)
    rows = np.concatenate([features.numpy(), np.ones((30, 1))], axis=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    weights = probabilities.numpy()
    for _ in range(2):
        centres = (weights.T @ rows) / weights.sum(0)[:, None]
        distances = 1 - rows @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T
        labels = distances.argmin(1)
        weights = np.eye(3)[labels]
    assert centroid_labels(features, probabilities).tolist() == labels.tolist()
    nobody = torch.cat([probabilities, torch.full((30, 1), 1e-4).double()], dim=1)
    assert 3 not in centroid_labels(features, nobody).tolist()


def test_clusters_that_a_head_confuses_are_told_by_their_centres():
    torch.manual_seed(1)
    true = torch.arange(90) % 3
    features = 4 * torch.eye(3)[true] + 0.5 * torch.randn(90, 3)
    said = torch.where(torch.rand(90) < 0.3, (true + 1) % 3, true)
    probabilities = (4 * nn.functional.one_hot(said, 3).float()).softmax(1)
    assert (centroid_labels(features, probabilities) == true).float().mean() == 1.0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", SOURCE_FREE)
def test_only_what_the_method_trains_moves(name, family, tmp_path):
    model, rows = model_of(name, family), rows_of(family)
    head = {id(parameter) for parameter in model.label_head.module.parameters()}
    norms = {
        id(parameter)
        for module in model.modules()
        if "Norm" in type(module).__name__
        for parameter in module.parameters(recurse=False)
    }
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trainer_of(model, rows, tmp_path).train()
    moved = {id(value) for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert moved
    if name == "tent":
        assert moved <= norms
    if name == "shot":
        assert not moved & head
        assert moved - norms


@pytest.mark.parametrize("name", SOURCE_FREE)
def test_labels_of_the_target_change_nothing(name, tmp_path):
    states = []
    for shift in (0, 1):
        rows = [{**row, "labels": (row["labels"] + shift) % 3} for row in rows_of("resnet")]
        model = model_of(name)
        trainer_of(model, rows, tmp_path).train()
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("stop", [2, 3])
@pytest.mark.parametrize("name", SOURCE_FREE)
def test_a_resumed_run_is_the_whole_one(name, stop, tmp_path):
    rows = rows_of("resnet")
    whole = model_of(name)
    trainer_of(whole, rows, tmp_path / "whole").train()
    trainer_of(model_of(name), rows, tmp_path / "cut", save_strategy="steps", save_steps=stop).train()
    resumed = model_of(name)
    trainer_of(resumed, rows, tmp_path / "cut", save_strategy="steps", save_steps=stop).train(
        resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{stop}")
    )
    state = whole.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in resumed.state_dict().items())


@pytest.mark.parametrize("name", SOURCE_FREE)
def test_what_is_saved_comes_back_and_is_exported(name, tmp_path):
    model, rows = model_of(name), rows_of("resnet")
    trainer_of(model, rows, tmp_path).train()
    logits, features = target_outputs(model, rows, default_collate)
    model.save_pretrained(tmp_path / "kept")
    again = AutoModel.from_pretrained(tmp_path / "kept")
    assert torch.equal(target_outputs(again, rows, default_collate)[0], logits)
    plain = model.export_classifier()
    with torch.no_grad():
        said = plain(pixel_values=torch.stack([row["pixel_values"] for row in rows])).logits
    assert torch.allclose(said, logits, atol=1e-6)
    assert features.shape == (12, model.label_head.width)


def test_pseudo_labels_are_written_each_epoch_or_every_so_often(tmp_path):
    rows = rows_of("resnet")
    for every, wanted in ((None, 2), (1, 5)):
        model = model_of("shot")
        trainer = trainer_of(model, rows, tmp_path)
        trainer.callback_handler.callbacks = [
            c for c in trainer.callback_handler.callbacks if not isinstance(c, PseudoLabels)
        ]
        callback = PseudoLabels(rows, default_collate, every=every)
        count = []
        refresh = callback.refresh
        callback.refresh = lambda model, refresh=refresh, count=count: (count.append(1), refresh(model))
        trainer.add_callback(callback)
        trainer.train()
        assert len(count) == wanted
        assert model.objective.pseudo_labels.shape == (12,)
        assert "objective.pseudo_labels" not in model.state_dict()


def test_what_does_not_fit_is_told():
    class Bare(tiny.TRANSFORMERS["resnet"]()[0].__class__):
        pass

    network = tiny.TRANSFORMERS["resnet"]()[0]
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    with pytest.raises(ModelError, match="has no normalisation with weights, which are all that tent trains"):
        DomainAdversarialModel.from_classifier(network, method="tent")
    for options, words in (({"label_weight": -1}, "label_weight=-1"), ({"view": -1}, "view=-1")):
        with pytest.raises(SettingsError, match=words):
            model_of("shot", **options)
    with pytest.raises(SettingsError, match="every=0"):
        PseudoLabels([], default_collate, every=0)


def test_only_so_many_rows_get_labels_and_the_others_teach_nothing(tmp_path):
    rows, model = rows_of("resnet"), model_of("shot", label_weight=1.0)
    callback = PseudoLabels(rows, default_collate, max_rows=4)
    callback.refresh(model)
    labels = model.objective.pseudo_labels
    chosen = [0, 4, 7, 11]
    assert (labels[chosen] >= 0).all()
    assert (labels == -1).sum() == 8
    logits, features = target_outputs(model, [rows[row] for row in chosen], default_collate)
    assert torch.equal(labels[chosen], centroid_labels(features, logits.softmax(1)))


def test_a_method_that_asks_for_no_labels_is_a_sentence():
    with pytest.raises(SettingsError, match=r"tent asks for no labels .* choose a method that does: .*clusters"):
        PseudoLabels(rows_of("resnet"), default_collate).refresh(model_of("tent"))
