"""A contract that every registered strategy keeps, and what each of them moves."""

import dataclasses

import pytest
import tiny
import torch
from transformers import TrainingArguments

from hf_transfer_kit import layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import STRATEGIES, make_strategy, strategy_text


@pytest.fixture
def model():
    return tiny.TRANSFORMERS["resnet"]()[0]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_is_a_documented_frozen_value(name):
    kind = STRATEGIES[name]
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind.name == name
    assert kind.summary.endswith(".")
    assert kind.rate_kind in ("head", "body", "scratch")
    assert kind.__doc__
    assert make_strategy(strategy_text(kind())) == kind()


@pytest.mark.parametrize("name", STRATEGIES)
def test_validation_changes_nothing(name, model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    asks = [parameter.requires_grad for parameter in model.parameters()]
    make_strategy(name).validate(layer_groups(model))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert asks == [parameter.requires_grad for parameter in model.parameters()]


def test_from_scratch_keeps_no_weight_and_is_seeded(model):
    before = {name: value.clone() for name, value in model.named_parameters() if value.dim() > 1}
    drawn = dict(make_strategy("from_scratch").prepare_model(model, seed=3).named_parameters())
    assert not any(torch.equal(before[name], drawn[name]) for name in before)
    first = {name: value.clone() for name, value in drawn.items()}
    again = dict(make_strategy("from_scratch").prepare_model(model, seed=3).named_parameters())
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_small_rate_is_a_fraction_for_all_before_the_head(model, tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), learning_rate=0.5, use_cpu=True)
    make, settings = make_strategy("small_lr:factor=0.01").optimizer(model, args)
    head = {id(parameter) for parameter in layer_groups(model).head.parameters.values()}
    rates = {id(p): group["lr"] for group in make()(model, **settings).param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    assert all(rate == pytest.approx(0.5 if key in head else 0.005) for key, rate in rates.items())


@pytest.mark.parametrize("text", ["small_lr:factor=0", "small_lr:factor=2", "freeze_first:k=0", "freeze_first:k=half"])
def test_options_out_of_range_are_sentences(text, model):
    with pytest.raises(SettingsError, match=text.split("=")[0]):
        make_strategy(text).validate(layer_groups(model))
