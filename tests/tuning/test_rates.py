"""Rates by depth equal their closed form and fit every optimizer and scheduler of Trainer."""

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from snapshots import labelled_rows, moved, snapshot
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainerControl, TrainerState

from hf_transfer_kit import FreezeSchedule, find_learning_rate, layer_groups, layerwise_optimizer, replace_head
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.logged_rates import LoggedRates
from hf_transfer_kit.tuning.rates import rate_factors


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({}, [1, 1, 1, 1]),
        ({"decay": 0.5}, [1 / 16, 1 / 8, 1 / 4, 1 / 2]),
        ({"decay": 0.5, "towards": "head"}, [1 / 2, 1 / 4, 1 / 8, 1 / 16]),
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
    make, settings = layerwise_optimizer(model, args, decay=0.5, head=2.0)
    optimizer = make()(model, **settings)
    assert type(optimizer) is torch.optim.AdamW
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }
    assert set(found) == set(names.values())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(found)
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
        ({"decay": "a"}, "decay='a' is no finite number"),
        ({"head": float("nan")}, "head=nan is no finite number"),
        ({"first_layers": float("inf")}, "first_layers=inf is no finite number"),
    ],
)
def test_wrong_settings(training_arguments, settings, sentence):
    model, _ = tiny.TRANSFORMERS["bert"]()
    with pytest.raises(SettingsError, match=sentence):
        layerwise_optimizer(model, training_arguments(), **settings)


def _rates(trainer):
    """Name -> rate that it began with."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    groups = trainer.optimizer.param_groups
    return {names[id(p)]: group["initial_lr"] for group in groups for p in group["params"] if id(p) in names}


def _has_rates_by_depth(trainer, rate):
    found, groups = _rates(trainer), layer_groups(trainer.model)
    assert set(found) == {name for name, _ in trainer.model.named_parameters()}
    for depth, group in enumerate(reversed(groups)):
        assert all(found[name] == pytest.approx(rate * 0.5**depth) for name in group.parameters), group.name


def test_one_pair_serves_several_trainers_and_a_rate_test(training_arguments):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    args = training_arguments(max_steps=1, learning_rate=0.1)
    pair = layerwise_optimizer(model, args, decay=0.5)

    def make():
        return Trainer(model, args, train_dataset=labelled_rows(inputs), optimizer_cls_and_kwargs=pair)

    find_learning_rate(make, steps=5)
    for _ in range(2):
        trainer = make()
        trainer.train()
        _has_rates_by_depth(trainer, 0.1)


def test_the_model_is_the_one_that_is_trained(training_arguments):
    """A new head, adapters, a ``model_init``: whatever came after the pair was made is in it."""
    _, inputs = tiny.TRANSFORMERS["bert"]()
    args = training_arguments(max_steps=1, learning_rate=0.1)
    made = tiny.TRANSFORMERS["bert"]()[0]
    pair = layerwise_optimizer(made, args, decay=0.5)
    replace_head(made, 4)
    changed = Trainer(made, args, train_dataset=labelled_rows(inputs), optimizer_cls_and_kwargs=pair)
    pair = layerwise_optimizer(None, args, decay=0.5)
    initialised = Trainer(
        model_init=lambda: tiny.TRANSFORMERS["bert"]()[0],
        args=args,
        train_dataset=labelled_rows(inputs),
        optimizer_cls_and_kwargs=pair,
    )
    for trainer in (changed, initialised):
        trainer.train()
        _has_rates_by_depth(trainer, 0.1)
    base = tiny.TRANSFORMERS["bert"]()[0]
    pair = layerwise_optimizer(base, args, decay=0.5)
    adapted = get_peft_model(base, LoraConfig(target_modules=["query"], modules_to_save=["classifier"]))
    trainer = Trainer(adapted, args, train_dataset=labelled_rows(inputs), optimizer_cls_and_kwargs=pair)
    before = snapshot(adapted)
    trainer.train()
    changed = moved(before, adapted)
    assert {name for name in changed if "lora_B" in name}
    assert {name for name in changed if "modules_to_save" in name}


def test_a_search_gives_each_trial_its_rate(training_arguments):
    _, inputs = tiny.TRANSFORMERS["bert"]()
    args = training_arguments(max_steps=1, learning_rate=0.1)
    trainer = Trainer(
        model_init=lambda: tiny.TRANSFORMERS["bert"]()[0],
        args=args,
        train_dataset=labelled_rows(inputs),
        optimizer_cls_and_kwargs=layerwise_optimizer(None, args, decay=0.5),
    )
    for rate in (0.3, 0.2):
        args.learning_rate = rate  # as Trainer does between trials
        trainer.train()
        _has_rates_by_depth(trainer, rate)


def test_trainers_without_the_argument_take_it_as_an_attribute(training_arguments):
    model, inputs = tiny.GENERATORS["t5_lm"]()
    args = training_arguments(kind=Seq2SeqTrainingArguments, max_steps=1, learning_rate=0.1)
    rows = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in labelled_rows(inputs)]
    trainer = Seq2SeqTrainer(model, args, train_dataset=rows)
    trainer.optimizer_cls_and_kwargs = layerwise_optimizer(model, args, decay=0.5)
    trainer.train()
    rates = _rates(trainer)
    assert len(set(rates.values())) == len(layer_groups(model))


def test_rates_of_head_and_body_are_logged_beside_the_lowest(training_arguments):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    args = training_arguments(learning_rate=0.1, max_steps=4, lr_scheduler_type="linear")
    pair = layerwise_optimizer(model, args, decay=0.5, head=2.0)
    for _ in range(2):  # once, also where one Trainer trains twice
        trainer = Trainer(model, args, train_dataset=labelled_rows(inputs), optimizer_cls_and_kwargs=pair)
        trainer.train()
        trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for entry, scale in zip(logs, (1.0, 0.75, 0.5, 0.25), strict=True):
        assert entry["learning_rate/head"] == pytest.approx(0.2 * scale)
        assert entry["learning_rate/body"] == pytest.approx(0.05 * scale)
        assert entry["learning_rate"] == pytest.approx(0.1 / 16 * scale)
    assert [type(c).__name__ for c in trainer.callback_handler.callbacks].count("LoggedRates") == 1


def test_rates_of_a_stage_are_in_the_logged_ones(training_arguments):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    args = training_arguments(learning_rate=0.1, max_steps=4, lr_scheduler_type="constant")
    stages = [{"train": "head", "until": 0.5}, {"train": "all", "rates": {"body": 0.1, "head": 0.5}}]
    schedule = FreezeSchedule(stages, quiet=True)
    trainer = Trainer(model, args, train_dataset=labelled_rows(inputs), callbacks=[schedule])
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["learning_rate/head"] for entry in logs] == pytest.approx([0.1, 0.1, 0.05, 0.05])
    assert [entry["learning_rate/body"] for entry in logs] == pytest.approx([0.0, 0.0, 0.01, 0.01])


def test_rates_of_parts_are_left_out_where_the_optimizer_holds_other_tensors(training_arguments):
    """As that of DeepSpeed does, with which the head would count as body."""
    model, _ = tiny.TRANSFORMERS["bert"]()
    args = training_arguments()
    logged = {}
    for name, tensors in {"its own": list(model.parameters()), "others": [torch.nn.Parameter(torch.zeros(2))]}.items():
        optimizer = torch.optim.SGD(tensors, lr=0.1)
        rates, state = LoggedRates(), TrainerState()
        rates.on_optimizer_step(args, state, TrainerControl(), model=model, optimizer=optimizer)
        logged[name] = {"loss": 1.0}
        rates.on_log(args, state, TrainerControl(), logs=logged[name], model=model, optimizer=optimizer)
    assert logged["its own"] == {"loss": 1.0, "learning_rate/body": 0.1, "learning_rate/head": 0.1}
    assert logged["others"] == {"loss": 1.0}
