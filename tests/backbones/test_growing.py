"""Heads that get more classes: old rows bit-identical, on every classifier; what does not fit is told."""

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from hf_transfer_kit import extend_head, load_model
from hf_transfer_kit.backbones import known_classes
from hf_transfer_kit.backbones.heads import last_layers
from hf_transfer_kit.errors import ModelError, SettingsError


def logits_of(model, inputs):
    torch.manual_seed(0)
    with torch.no_grad():
        found = tiny.run(model.eval(), inputs)
    return found.logits if hasattr(found, "logits") else found


@pytest.mark.parametrize("family", tiny.classifiers())
def test_old_classes_stay_what_they_are(family, tmp_path):
    model, inputs = tiny.classifiers()[family]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = last_layers(model)
    old = len(next(iter(layers.values())).weight)
    said = logits_of(model, inputs)
    if any(len(layer.weight) != old for layer in layers.values()):
        pytest.skip("heads of different sizes")
    assert extend_head(model, ["one more", "and another"], seed=1) is model
    after = model.state_dict()
    for name, value in before.items():
        grown = after[name]
        if grown.shape == value.shape:
            assert torch.equal(grown, value), name
        else:
            assert grown.shape == (old + 2, *value.shape[1:])
            assert torch.equal(grown[:old], value), name
    now = logits_of(model, inputs)
    assert now.shape[-1] == old + 2
    torch.testing.assert_close(now[..., :old], said, rtol=1e-5, atol=1e-6)
    if hasattr(model, "config"):
        names = [model.config.id2label[index] for index in range(old + 2)]
        assert names[-2:] == ["one more", "and another"]
        model.save_pretrained(tmp_path)
        again = type(model).from_pretrained(tmp_path)
        assert torch.equal(logits_of(again, inputs), now)
        assert [again.config.id2label[index] for index in range(old + 2)] == names


def test_new_weights_are_seeded_and_frozen_heads_stay_frozen():
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        model = tiny.TRANSFORMERS["resnet"]()[0].requires_grad_(False)
        extend_head(model, 3, seed=5)
        assert not any(parameter.requires_grad for parameter in model.parameters())
        weights.append(next(iter(last_layers(model).values())).weight)
    assert torch.equal(*weights)


def test_it_can_be_extended_again():
    torch.manual_seed(0)
    once, twice = (nn.Sequential(nn.Flatten(), nn.Linear(12, 4)) for _ in range(2))
    twice.load_state_dict(once.state_dict())
    extend_head(once, 3, seed=0)
    extend_head(extend_head(twice, 1, seed=0), 2, seed=0)
    assert once[-1].weight.shape == twice[-1].weight.shape == (7, 12)
    assert torch.equal(once[-1].weight[:4], twice[-1].weight[:4])


@pytest.mark.parametrize("new", [[], ["a", "a"], "word", 0, True])
def test_names_that_are_none_are_refused(new):
    with pytest.raises(SettingsError, match="give a list of names, at least one and none twice"):
        extend_head(tiny.TRANSFORMERS["resnet"]()[0], new)


def test_a_class_that_is_there_is_refused():
    model = tiny.TRANSFORMERS["resnet"]()[0]
    with pytest.raises(SettingsError, match="The model has the class 'LABEL_0' already"):
        extend_head(model, ["new", "LABEL_0"])


def test_an_adapter_in_the_heads_place_is_told():
    model = get_peft_model(
        tiny.TRANSFORMERS["bert"]()[0], LoraConfig(target_modules=["query"], modules_to_save=["classifier"], r=2)
    )
    with pytest.raises(ModelError, match=r"peft has put an adapter in the place of 'classifier'\. Merge it first"):
        extend_head(model, ["new"])
    extend_head(model.merge_and_unload(), ["new"])


def test_known_classes_are_names_and_no_numbers_in_their_place():
    model = tiny.TRANSFORMERS["resnet"]()[0]
    with pytest.raises(ModelError, match=r"has no names of its classes \(LABEL_0, LABEL_1, LABEL_2\)"):
        known_classes(model)
    model.config.id2label = {2: "fox", 0: "cat", 1: "dog"}
    assert known_classes(model) == ("cat", "dog", "fox")
    assert known_classes(get_peft_model(model, LoraConfig(target_modules=["convolution"], r=2))) == (
        "cat",
        "dog",
        "fox",
    )
    model.config.id2label = {0: "crane", 1: "dog", 2: "crane"}
    with pytest.raises(ModelError, match="has two classes called 'crane'"):
        known_classes(model)
    with pytest.raises(ModelError, match=r"Sequential has no names of its classes \(none\)"):
        known_classes(tiny.sequential()[0])


def test_a_checkpoint_without_a_trained_head_is_refused_where_one_is_wanted(tmp_path):
    model, _ = tiny.TRANSFORMERS["resnet"]()
    model.save_pretrained(tmp_path / "whole")
    model.resnet.save_pretrained(tmp_path / "body")
    kept = load_model(tmp_path / "whole", trained_head=True).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    load_model(tmp_path / "body")
    with pytest.raises(ModelError, match=r"body has no trained head: classifier\.1\.bias, classifier\.1\.weight"):
        load_model(tmp_path / "body", trained_head=True)
