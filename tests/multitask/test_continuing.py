"""A trained model goes on with other tasks; source tasks are kept by their own head or by what it said."""

import numpy as np
import pytest
import tiny
import torch
from multitask_packed import gradients, picture_batch, picture_model, text_batch, text_model
from torch.nn import functional

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask import MultiTaskCollator, MultiTaskModel, Source, WithLabels, record_logits

TOPIC = {"type": "classification", "num_labels": 3}


def test_a_further_task_leaves_all_trained_weights_as_they_are():
    old = text_model({"topic": TOPIC})
    before = torch.get_rng_state()
    new = MultiTaskModel.from_multitask(old, {"score": {"type": "regression"}, "topic": TOPIC}, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    batch = text_batch()
    assert torch.equal(old.eval()(task="topic", **batch).logits, new.eval()(task="topic", **batch).logits)
    assert new(task="score", **batch).logits.shape == (6, 1)
    again = MultiTaskModel.from_multitask(old, {"score": {"type": "regression"}, "topic": TOPIC}, seed=3)
    assert torch.equal(new.heads["score"].linear.weight, again.heads["score"].linear.weight)
    new.train()(**batch, score__rows=torch.tensor([0]), score__labels=torch.tensor([1.0])).loss.backward()
    assert all(parameter.grad is None for parameter in old.parameters())


def test_a_head_with_other_outputs_begins_fresh():
    old = text_model({"topic": TOPIC})
    new = MultiTaskModel.from_multitask(old, {"topic": {"type": "classification", "num_labels": 4}})
    assert new.heads["topic"].linear.out_features == 4


def test_a_task_with_further_classes_keeps_its_old_ones(tmp_path):
    named = {"type": "classification", "id2label": ["cat", "dog", "fox"]}
    old = text_model({"animal": named, "score": {"type": "regression"}}).eval()
    old.save_pretrained(tmp_path)
    old = MultiTaskModel.from_pretrained(tmp_path).eval()
    more = {"animal": {**named, "id2label": ["cat", "dog", "fox", "owl", "ant"]}, "score": {"type": "regression"}}
    new = MultiTaskModel.from_multitask(old, more, old_classes="kept", seed=3).eval()
    linear = new.heads["animal"].linear
    assert torch.equal(linear.weight[:3], old.heads["animal"].linear.weight)
    assert torch.equal(linear.bias[:3], old.heads["animal"].linear.bias)
    assert linear.weight.shape[0] == 5
    assert linear.weight[3:].abs().sum() > 0
    batch = text_batch()
    said = [model(task="animal", **batch).logits for model in (old, new)]
    assert torch.allclose(said[1][:, :3], said[0], atol=1e-6)
    assert torch.equal(new(task="score", **batch).logits, old(task="score", **batch).logits)
    fresh = MultiTaskModel.from_multitask(old, more, seed=3)
    assert not torch.equal(fresh.heads["animal"].linear.weight[:3], old.heads["animal"].linear.weight)
    other = {"animal": {**named, "id2label": ["dog", "cat", "fox", "owl"]}}
    with pytest.raises(SettingsError, match="'animal' knows the classes cat, dog, fox; to keep them"):
        MultiTaskModel.from_multitask(old, other, old_classes="kept")
    with pytest.raises(SettingsError, match="old_classes='both' is unknown"):
        MultiTaskModel.from_multitask(old, more, old_classes="both")


def test_a_further_input_begins_with_the_layers_of_the_first():
    old = MultiTaskModel.from_backbone(
        tiny.classifiers()["wrapped/resnet18"]()[0],
        {"drawn": {"type": "classification", "num_labels": 2, "input": "grey"}},
        inputs={"grey": {"channels": 1}},
        shared_from=1,
    )
    new = MultiTaskModel.from_multitask(
        old, picture_model().config.tasks, inputs={"rgb": {}, "grey": {"channels": 1}}, shared_from=1
    ).eval()
    grey = picture_batch(rgb=0)["grey__pixel_values"]
    said = old.eval()(task="drawn", grey__pixel_values=grey).logits
    assert torch.equal(new(task="drawn", grey__pixel_values=grey).logits, said)
    features = [
        new._read(name, {"pixel_values": grey.expand(-1, channels, -1, -1)}).of["pooled"]
        for name, channels in (("rgb", 3), ("grey", 1))
    ]
    assert torch.allclose(*features, rtol=1e-4, atol=1e-5)


def test_separate_inputs_may_follow_one_that_was_shared():
    old = text_model({"topic": TOPIC}).eval()
    tasks = {"topic": {**TOPIC, "input": "a"}, "score": {"type": "regression", "input": "b"}}
    new = MultiTaskModel.from_multitask(old, tasks, inputs={"a": {}, "b": {}}, shared_from=2).eval()
    batch = text_batch()
    packed = {name.replace("default", "a"): value for name, value in batch.items()}
    assert torch.equal(old(task="topic", **batch).logits, new(task="topic", **packed).logits)
    back = MultiTaskModel.from_multitask(new, {"topic": TOPIC}).eval()
    assert torch.equal(old(task="topic", **batch).logits, back(task="topic", **batch).logits)


def test_a_task_may_have_the_networks_own_head():
    network, _ = tiny.TRANSFORMERS["bert"]()
    network.eval()
    batch = text_batch()
    said = network(**{name.removeprefix("default__"): value for name, value in batch.items()}).logits
    count = said.shape[1]
    tasks = {"old": {"type": "classification", "num_labels": count}, "new": {"type": "regression"}}
    model = MultiTaskModel.from_backbone(network, tasks, keep_head="old").eval()
    assert torch.allclose(model(task="old", **batch).logits, said, atol=1e-6)
    network, _ = tiny.TRANSFORMERS["bert"]()
    with pytest.raises(SettingsError, match="the network's own head does not fit a task of 9 outputs"):
        MultiTaskModel.from_backbone(network, {"old": {**TOPIC, "num_labels": 9}}, keep_head="old")
    network, _ = tiny.TRANSFORMERS["bert"]()
    with pytest.raises(SettingsError, match="no task 'other'"):
        MultiTaskModel.from_backbone(network, {"old": TOPIC}, keep_head="other")


class _Texts:
    """Rows of tokens for a plain collator."""

    rows = text_batch(7)

    def __len__(self):
        return 7

    def __getitem__(self, row):
        return {name.removeprefix("default__"): value[row] for name, value in self.rows.items()}


def _stack(rows):
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def test_what_a_network_says_is_recorded_row_by_row_and_changes_nothing():
    model = text_model({"topic": TOPIC, "score": {"type": "regression"}})
    state, modes = torch.get_rng_state(), [module.training for module in model.modules()]
    said = record_logits(model, _Texts(), _stack, task="topic", batch_size=3)
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    assert said.dtype == np.float32
    expected = model.eval()(task="topic", **_Texts.rows).logits.detach().numpy()
    assert np.allclose(said, expected, atol=1e-6)


def test_recorded_logits_teach_by_the_papers_loss():
    model = text_model({"topic": {**TOPIC, "temperature": 3.0}, "score": {"type": "regression"}})
    soft = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    rows = WithLabels(_Texts(), {"topic": soft, "score": np.arange(7.0)}, rows=[4, 1, 2])
    source = Source(rows, {"topic": "topic", "score": "score"})
    batch = MultiTaskCollator({"default": _stack}, model.config.tasks)([source[row] for row in range(3)])
    assert torch.equal(batch["topic__labels"], torch.from_numpy(soft[[4, 1, 2]]))
    assert batch["score__labels"].tolist() == [4.0, 1.0, 2.0]
    model(**batch).loss.backward()
    found = gradients(model)["heads.topic.linear.bias"]
    logits = model.eval()(task="topic", **batch).logits
    p, q = functional.softmax(logits / 3, dim=1), functional.softmax(batch["topic__labels"] / 3, dim=1)
    assert torch.allclose(found, 3 * (p - q).mean(dim=0), atol=1e-6)  # d/dz of T^2 KL(q || p) is T (p - q)


def test_sentences():
    with pytest.raises(DataError, match="topic has 2 values for 7 rows"):
        WithLabels(_Texts(), {"topic": [1, 2]})
    with pytest.raises(SettingsError, match="temperature=0: give a number above 0"):
        text_model({"topic": {**TOPIC, "temperature": 0}})
    collator = MultiTaskCollator({"default": _stack}, {"topic": TOPIC})
    mixed = WithLabels(_Texts(), {"topic": [1, [0.0, 1.0, 2.0], 1, 1, 1, 1, 1]})
    source = Source(mixed, {"topic": "topic"})
    with pytest.raises(DataError, match="one class index for each row, or logits for all"):
        collator([source[0], source[1]])
    with pytest.raises(DataError, match="3 finite logits"):
        collator([Source(WithLabels(_Texts(), {"topic": [[0.0, 1.0]] * 7}), {"topic": "topic"})[0]])
