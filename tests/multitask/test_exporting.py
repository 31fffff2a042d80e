"""Each task alone, as a plain checkpoint of transformers."""

import pytest
import tiny
import torch
import transformers as tf
from multitask_packed import TEXT_TASKS, picture_batch, picture_model, text_batch, text_model

from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.multitask import MultiTaskModel

CLASSES = {
    "topic": (tf.AutoModelForSequenceClassification, "single_label_classification"),
    "tags": (tf.AutoModelForSequenceClassification, "multi_label_classification"),
    "score": (tf.AutoModelForSequenceClassification, "regression"),
    "entities": (tf.AutoModelForTokenClassification, None),
}


def _plain(model, task, auto, tmp_path):
    exported = model.export(task)
    assert not any("hf_transfer_kit" in type(module).__module__ for module in exported.modules())
    exported.save_pretrained(tmp_path / task)
    return auto.from_pretrained(tmp_path / task).eval()


@pytest.mark.parametrize("task", list(TEXT_TASKS))
def test_texts(task, tmp_path):
    model = text_model().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    auto, problem = CLASSES[task]
    plain = _plain(model, task, auto, tmp_path)
    inputs = {name.removeprefix("default__"): value for name, value in text_batch().items()}
    with torch.no_grad():
        assert torch.allclose(plain(**inputs).logits, model(**inputs, task=task).logits, rtol=0, atol=1e-6)
    assert plain.config.problem_type == problem
    assert plain.config.num_labels == model.config.tasks[task]["num_labels"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_token_tasks_alone_stand_on_a_network_without_a_pooler(tmp_path):
    model = text_model({"entities": {"type": "token_classification", "id2label": {0: "O", 1: "B"}}}).eval()
    assert not any("pooler" in name for name in model.state_dict())
    plain = _plain(model, "entities", tf.AutoModelForTokenClassification, tmp_path)
    inputs = {name.removeprefix("default__"): value for name, value in text_batch().items()}
    assert torch.equal(plain(**inputs).logits, model(**inputs).logits)
    assert plain.config.id2label == {0: "O", 1: "B"}


@pytest.mark.parametrize("family", ["wrapped/resnet18", "wrapped/vit_tiny_patch16_224", "vit", "resnet", "swin"])
def test_pictures_of_either_input(family, tmp_path):
    model = picture_model(family, 2)
    model(**picture_batch())  # moves running statistics
    model.eval()
    for name, task in (("rgb", "real"), ("grey", "drawn")):
        plain = _plain(model, task, tf.AutoModelForImageClassification, tmp_path)
        pictures = picture_batch()[f"{name}__pixel_values"]
        with torch.no_grad():
            expected = model(pixel_values=pictures, task=task).logits
            assert torch.allclose(plain(pixel_values=pictures).logits, expected, rtol=0, atol=1e-6)


def test_another_vocabulary(tmp_path):
    tasks = {name: {"type": "classification", "num_labels": 2, "input": name} for name in ("english", "german")}
    model = text_model(tasks, inputs={"english": {}, "german": {"vocab_size": 60}}, shared_from=2).eval()
    plain = _plain(model, "german", tf.AutoModelForSequenceClassification, tmp_path)
    inputs = {"input_ids": torch.tensor([[3, 55, 59]])}
    assert torch.allclose(plain(**inputs).logits, model(**inputs, task="german").logits, rtol=0, atol=1e-6)
    assert plain.config.vocab_size == 60


@pytest.mark.parametrize("alone", [True, False])
def test_spelling_beside_classes_of_sounds(alone, tmp_path):
    network, _ = tiny.TRANSFORMERS["wav2vec2_stable"]()
    tasks = {"words": {"type": "ctc", "num_labels": 7, "blank": 2}}
    if not alone:
        tasks["digit"] = {"type": "classification", "num_labels": 10}
    model = MultiTaskModel.from_backbone(network, tasks).eval()
    inputs = {**tiny.waves(), "attention_mask": torch.ones(2, 800, dtype=torch.long)}
    inputs["attention_mask"][1, 500:] = 0
    classes = {"words": tf.AutoModelForCTC, "digit": tf.AutoModelForAudioClassification}
    for task in tasks:
        plain = _plain(model, task, classes[task], tmp_path)
        with torch.no_grad():
            expected, found = plain(**inputs).logits, model(**inputs, task=task).logits
        if task == "words":
            spoken = plain._get_feat_extract_output_lengths(inputs["attention_mask"].sum(dim=1))
            assert 0 < spoken[1] < spoken[0] == found.shape[1]
            assert (found[1, spoken[1] :] == -100).all()  # padding spells nothing
            expected[1, spoken[1] :] = -100
        assert torch.allclose(expected, found, rtol=0, atol=1e-6)
    words = tf.AutoModelForCTC.from_pretrained(tmp_path / "words").eval()
    labels = torch.tensor([[3, 4, 4], [5, -100, -100]])
    words.config.ctc_loss_reduction = "mean"
    expected = words(**inputs, labels=labels).loss
    loss = model(**inputs, task="words", labels=labels).loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert words.config.pad_token_id == 2


def test_a_class_whose_head_has_no_bias_loses_nothing(tmp_path):
    tasks = {"topic": {"type": "classification", "num_labels": 3}, "score": {"type": "regression", "mean": 2.0}}
    network, inputs = tiny.TRANSFORMERS["gpt2"]()
    model = MultiTaskModel.from_backbone(network, tasks, seed=0).eval()
    assert model.heads["topic"].linear.bias is None
    model.export("topic").save_pretrained(tmp_path)
    again = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.allclose(again(**inputs).logits, model(task="topic", **inputs).logits, atol=1e-6)
    with pytest.raises(ModelError, match="a head without a bias, so it cannot hold the mean of 'score'"):
        model.export("score")
