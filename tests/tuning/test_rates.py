"""Rates by depth equal their closed form and fit every optimizer and scheduler of Trainer."""

import pytest
import tiny
import torch
from snapshots import labelled_rows, moved, snapshot
from transformers import Trainer

from hf_transfer_kit import layer_groups, layerwise_optimizer
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.rates import rate_factors


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({}, [1, 1, 1, 1]),
        ({"decay": 0.5}, [1 / 16, 1 / 8, 1 / 4, 1 / 2]),
        ({"first_layers": 0.001}, [0.001, 0.001, 1, 1]),
        ({"first_layers": 0, "num_first": 3}, [0, 0, 0, 1]),
        ({"first_layers": 0.1, "num_first": 1, "decay": 0.5}, [0.1 / 16, 1 / 8, 1 / 4, 1 / 2]),
    ],
)
def test_factors(settings, factors):
    assert rate_factors(4, **settings) == pytest.approx(factors)


def test_each_parameter_has_the_rate_of_its_depth_and_norms_and_biases_no_decay(training_arguments):
    model, _ = tiny.TRANSFORMERS["bert"]()
    args = training_arguments(learning_rate=0.1, weight_decay=0.01)
    cls, kwargs = layerwise_optimizer(model, args, decay=0.5, head=2.0)
    assert cls is torch.optim.AdamW
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in kwargs["params"] for p in group["params"]}
    assert set(found) == set(names.values())
    assert sum(len(group["params"]) for group in kwargs["params"]) == len(found)
    for factor, group in zip([1 / 16, 1 / 8, 1 / 4, 1 / 2, 2.0], layer_groups(model), strict=True):
        for name in group.parameters:
            plain = name.endswith(".bias") or "LayerNorm" in name
            assert found[name] == (pytest.approx(0.1 * factor), 0.0 if plain else 0.01), name


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop", "adafactor"])
@pytest.mark.parametrize("scheduler", ["linear", "cosine"])
def test_groups_of_rate_zero_stay_and_the_others_move(training_arguments, optim, scheduler):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    before = snapshot(model)
    args = training_arguments(
        optim=optim, learning_rate=0.1, weight_decay=0.1, max_steps=4, lr_scheduler_type=scheduler
    )
    pair = layerwise_optimizer(model, args, first_layers=0.0)
    trainer = Trainer(model, args, train_dataset=labelled_rows(inputs), optimizer_cls_and_kwargs=pair)
    trainer.train()
    groups = layer_groups(model)
    changed = moved(before, model)
    assert changed.isdisjoint({name for group in groups[:2] for name in group.parameters})
    assert all(changed & set(group.parameters) for group in groups[2:])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"decay": 0}, r"decay=0 is outside \(0, 1\]"),
        ({"decay": 1.1}, r"decay=1.1 is outside \(0, 1\]"),
        ({"first_layers": -1}, "first_layers=-1 is negative"),
        ({"first_layers": 0, "num_first": 5}, "num_first=5 is out of range: the model has 4 groups before the head"),
        ({"head": -1}, "head=-1 is negative"),
    ],
)
def test_wrong_settings(training_arguments, settings, sentence):
    model, _ = tiny.TRANSFORMERS["bert"]()
    with pytest.raises(SettingsError, match=sentence):
        layerwise_optimizer(model, training_arguments(), **settings)
