"""Probes: what is fitted, what it is chosen by, and the way back into the model."""

import numpy as np
import pytest
import tiny
import torch
from snapshots import labelled_rows
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from hf_transfer_kit import cache_features, linear_probe, replace_head
from hf_transfer_kit.errors import DataError, ModelError, SettingsError


def blobs(rows: int, classes: int = 3, *, seed: int = 0, noise: float = 1.0):
    """Rows around one centre a class, on features of very different scales."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    centres = np.random.default_rng(9).normal(size=(classes, 6)) * 2
    scales = np.array([1e-3, 1.0, 1e3, 1.0, 10.0, 1.0])
    features = (centres[labels] + noise * generator.normal(size=(rows, 6))) * scales + 100 * scales
    return features.astype(np.float32), labels


@pytest.mark.parametrize("kind", ["logistic", "ridge", "knn"])
@pytest.mark.parametrize("classes", [2, 3])
def test_separable_classes_are_told_apart(kind, classes):
    features, labels = blobs(60, classes, noise=0.2)
    probe = linear_probe(features, labels, test=blobs(30, classes, seed=1, noise=0.2), kind=kind)
    assert probe.test_accuracy == 1.0
    assert probe.validation_accuracy >= 0.98
    assert probe.accuracy(features, labels) == 1.0
    assert probe.predict(torch.from_numpy(features)).tolist() == labels.tolist()


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_weights_are_the_minimum_of_the_formula(classes):
    features, labels = blobs(90, classes)
    probe = linear_probe(features, labels, strengths=[0.05])
    standard = torch.from_numpy((features - features.mean(0)) / features.std(0)).double()
    weight = torch.from_numpy(probe.weight * features.std(0)).double().requires_grad_()
    bias = torch.from_numpy(probe.bias + probe.weight @ features.mean(0)).double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(standard @ weight.T + bias, torch.from_numpy(labels))
    penalty = weight.pow(2).sum() if classes > 2 else (weight[1] - weight[0]).pow(2).sum()
    (loss + 0.05 / 2 * penalty).backward()
    assert weight.grad.abs().max() < 2e-3
    assert bias.grad.abs().max() < 2e-3


@pytest.mark.parametrize("classes", [2, 3])
def test_ridge_weights_are_the_closed_form(classes):
    features, labels = blobs(90, classes)
    probe = linear_probe(features, labels, kind="ridge", strengths=[0.3])
    standard = ((features - features.mean(0)) / features.std(0)).astype(np.float64)
    targets = np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
    expected = np.linalg.solve(standard.T @ standard + 0.3 * 90 * np.eye(6), standard.T @ (targets - targets.mean(0))).T
    np.testing.assert_allclose(probe.weight * features.std(0), expected, atol=1e-3)
    np.testing.assert_allclose(probe.logits(features), standard @ expected.T + targets.mean(0), atol=5e-3)


def test_the_strength_is_chosen_on_validation_and_never_on_test():
    train, labels = blobs(30, noise=3.0)
    validation, test = blobs(300, seed=1, noise=3.0), blobs(300, seed=2, noise=3.0)
    wrong = (test[0], (test[1] + 1) % 3)
    first = linear_probe(train, labels, validation=validation, test=test)
    assert first.scores[first.strength] == max(first.scores.values())
    assert first.validation_accuracy == first.accuracy(*validation)
    second = linear_probe(train, labels, validation=validation, test=wrong)
    assert second.strength == first.strength
    assert np.array_equal(first.weight, second.weight)
    assert second.test_accuracy < first.test_accuracy


def test_of_equal_strengths_the_strongest_is_taken():
    features, labels = blobs(60, noise=0.01)
    assert linear_probe(features, labels, strengths=[0.001, 0.01]).strength == 0.01
    assert linear_probe(features, labels, strengths=[1, 3], kind="knn").strength == 3


def test_folds_depend_on_the_seed_alone():
    features, labels = blobs(60, noise=4.0)
    first, again, other = (linear_probe(features, labels, seed=seed) for seed in (0, 0, 1))
    assert first.scores == again.scores
    assert first.scores != other.scores


def test_a_constant_feature_has_no_weight():
    features, labels = blobs(60)
    features[:, 2] = 0.1
    assert np.abs(linear_probe(features, labels).weight[:, 2]).max() == 0


def test_a_class_with_one_row_is_no_reason_to_fail():
    features, labels = blobs(31)
    labels[-1] = 3
    assert linear_probe(features, labels).classes.tolist() == [0, 1, 2, 3]


@pytest.fixture
def probed(tmp_path):
    """A tiny model, cached features of 12 rows, and a probe on them."""

    def make(name):
        model, inputs = tiny.classifiers()[name]()
        replace_head(model.eval(), 3)
        rows = [
            {key: value + index // 2 for key, value in row.items()}
            for index, row in enumerate(labelled_rows(inputs, 12))
        ]
        rows = [{**row, "labels": index % 3} for index, row in enumerate(rows)]
        if "attention_mask" in inputs:
            rows = [{**row, "attention_mask": inputs["attention_mask"][0]} for row in rows]
        features = cache_features(model, rows, cache_dir=tmp_path / "cache", progress=False)
        batch = {key: torch.stack([torch.as_tensor(row[key]) for row in rows]) for key in inputs}
        return model, batch, features, linear_probe(features, strengths=[0.01])

    return make


@pytest.mark.parametrize("name", ["timm/resnet18", "wrapped/mobilenetv2_100", "resnet", "vit", "bert"])
def test_in_the_model_its_logits_are_the_probes(probed, name, tmp_path):
    model, batch, features, probe = probed(name)
    assert probe.put_into(model) is model
    with torch.no_grad():
        output = tiny.run(model, batch)
    logits = getattr(output, "logits", output).numpy()
    np.testing.assert_allclose(logits, probe.logits(features), rtol=1e-5, atol=1e-5)
    assert np.array_equal(logits.argmax(1), probe.predict(features))
    if not hasattr(model, "save_pretrained"):
        return
    model.save_pretrained(tmp_path / "saved")
    auto = AutoModelForSequenceClassification if name == "bert" else AutoModelForImageClassification
    with torch.no_grad():
        again = auto.from_pretrained(tmp_path / "saved").eval()(**batch).logits
    np.testing.assert_allclose(again, probe.logits(features), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("roberta", "enter 'classifier', but the logits come from 'classifier.out_proj'"),
        ("wav2vec2", "enter 'projector', but the logits come from 'classifier'"),
        ("bert_tokens", "'classifier' reads several positions a row"),
        ("gpt2", "'score' has no bias"),
    ],
)
def test_where_something_else_enters_the_last_layer_it_is_refused(probed, name, message):
    model, _, _, probe = probed(name)
    with pytest.raises(ModelError, match=message):
        probe.put_into(model)


def test_features_of_another_layer_or_of_other_weights_are_refused(probed, tmp_path):
    model, inputs = tiny.TRANSFORMERS["vit"]()
    rows = labelled_rows(inputs, 6)
    block = cache_features(model, rows, layer=-1, pooling="first", cache_dir=tmp_path, progress=False)
    with pytest.raises(ModelError, match="'classifier' reads something else, not the features of layer="):
        linear_probe(block, strengths=[0.1]).put_into(model)
    model, _, _, probe = probed("resnet")
    before = model.classifier[1].weight.clone()
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    with pytest.raises(ModelError, match="features of other weights than those of this ResNet"):
        probe.put_into(model)
    assert torch.equal(before, model.classifier[1].weight)


def test_classes_that_the_layer_does_not_have_are_refused(probed):
    model, _, features, probe = probed("resnet")
    with pytest.raises(SettingsError, match=r"the classes \[0, 1, 2\], and 'classifier.1' 16 to 5 logits"):
        probe.put_into(replace_head(model, 5))
    with pytest.raises(SettingsError, match="no weights to put into a model"):
        linear_probe(features, kind="knn").put_into(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "svm"}, "kind='svm' is unknown; choose 'logistic', 'ridge', 'knn'"),
        ({"strengths": [0.0, 1.0]}, "strengths=0.0 is out of range; give a number above 0"),
        ({"kind": "knn", "strengths": [1.5]}, "numbers of neighbours, whole ones"),
        ({"kind": "knn", "strengths": [40]}, "at most 15 can be asked"),
    ],
)
def test_settings_that_are_not_allowed(change, message):
    with pytest.raises(SettingsError, match=message):
        linear_probe(*blobs(30), **change)


def test_rows_that_do_not_fit_are_refused():
    features, labels = blobs(30)
    with pytest.raises(DataError, match="30 rows of features and 29 labels"):
        linear_probe(features, labels[:-1])
    with pytest.raises(DataError, match="features has no labels"):
        linear_probe(features)
    with pytest.raises(DataError, match="All rows of features are of class 1"):
        linear_probe(features, np.ones(30, int))
    with pytest.raises(DataError, match="one class index a row"):
        linear_probe(features, labels / 2)
    with pytest.raises(DataError, match=r"shape \(30, 2, 3\)"):
        linear_probe(features.reshape(30, 2, 3), labels)
    with pytest.raises(DataError, match="test has 5 features a row, but the training rows 6"):
        linear_probe(features, labels, test=(features[:, :5], labels))
    with pytest.raises(DataError, match="single row"):
        linear_probe(features[:3], labels[:3])
    features[4, 1] = np.nan
    with pytest.raises(DataError, match="Features of row 4 are not finite"):
        linear_probe(features, labels)
