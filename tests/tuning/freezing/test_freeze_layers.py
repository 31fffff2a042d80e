"""What FreezeLayers freezes stays bit for bit as it was, through the stock Trainer."""

import pytest
import tiny
import torch
import transformers as tf
from snapshots import inside, labelled_rows, moved, snapshot
from torch import nn
from transformers import Trainer

from hf_transfer_kit import FreezeLayers, layer_groups, layerwise_optimizer
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.freezing.freeze_layers import frozen_depths


def wav2vec2():
    """Without dropping whole layers, which transformers cannot do under a weighted sum over them."""
    model, inputs = tiny.TRANSFORMERS["wav2vec2"]()
    model.config.layerdrop = 0.0
    return model, inputs


def resnet18():
    """timm's, wrapped by transformers, with few channels."""
    config = tf.TimmWrapperConfig(
        architecture="resnet18", num_labels=3, do_pooling=True, model_args={"channels": (4, 8, 12, 16)}
    )
    return tf.TimmWrapperForImageClassification(config), tiny.images()


FAMILIES = {
    "resnet18": resnet18,
    **{name: tiny.TRANSFORMERS[name] for name in ("resnet", "vit", "bert")},
    "wav2vec2": wav2vec2,
}
OPTIMIZERS = {
    "adamw": (torch.optim.AdamW, {"lr": 1e-3}),
    "momentum": (torch.optim.SGD, {"lr": 1e-2, "momentum": 0.9}),
}


@pytest.fixture
def make_trainer(training_arguments):
    def make(model, inputs, *callbacks, optimizer=None, **settings):
        given = {"per_device_train_batch_size": 4, "max_steps": 3, "weight_decay": 0.1, "logging_steps": 1000}
        args = training_arguments(**{**given, **settings})
        return Trainer(
            model,
            args,
            train_dataset=labelled_rows(inputs),
            callbacks=list(callbacks),
            optimizer_cls_and_kwargs=optimizer,
        )

    return make


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_weights_and_statistics_are_bit_identical_after_50_steps(make_trainer, family, optimizer):
    model, inputs = FAMILIES[family]()
    groups = layer_groups(model)
    frozen = {name for group in groups[:2] for name in group.parameters}
    before = snapshot(model)
    buffers = inside(set(dict(model.named_buffers())), [name for group in groups[:2] for name in group.modules])
    cls, kwargs = OPTIMIZERS[optimizer]
    trainer = make_trainer(
        model, inputs, FreezeLayers(first=2, quiet=True), optimizer=(cls, dict(kwargs)), max_steps=50
    )
    trainer.train()
    changed = moved(before, model)
    assert changed.isdisjoint(frozen | buffers)
    for group in groups[2:]:
        assert changed & set(group.parameters), group.name
    if "resnet" in family:
        statistics = {name for name in before if name.endswith(("running_mean", "running_var"))}
        assert buffers & statistics
        assert statistics - buffers <= changed
    parameters = dict(model.named_parameters())
    state = trainer.optimizer.optimizer.state
    assert not any(parameters[name] in state for name in frozen)
    assert any(parameters[name] in state for name in set(parameters) - frozen)


def test_frozen_weights_are_in_no_group_of_the_optimizer(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    trainer = make_trainer(model, inputs, FreezeLayers(first=3, quiet=True))
    trainer.train()
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    assert not any(p.requires_grad for group in layer_groups(model)[:3] for p in group.parameters.values())


def test_dropout_is_off_in_the_frozen_part_and_on_behind_it(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    make_trainer(model, inputs, FreezeLayers(first=2, quiet=True)).train()
    layers = model.bert.encoder.layer
    seen = {0: [], 1: []}
    for depth in seen:
        layers[depth].register_forward_hook(lambda m, i, out, d=depth: seen[d].append(out))
    model.train()
    for _ in range(2):
        model(**inputs)
    first, second = ([o[0] if isinstance(o, tuple) else o for o in seen[depth]] for depth in (0, 1))
    assert torch.equal(*first)
    assert not torch.equal(*second)


def test_dropout_on_keeps_it_in_the_frozen_part():
    model, inputs = tiny.TRANSFORMERS["bert"]()
    FreezeLayers(all_but_head=True, dropout="on").apply(model)
    model.train()
    assert not torch.equal(model.bert(**inputs).last_hidden_state, model.bert(**inputs).last_hidden_state)


@pytest.mark.parametrize(
    ("batch_norm", "statistics", "affine"),
    [("freeze", False, False), ("update", True, False), ("affine_only", False, True)],
)
def test_batch_norm_options(make_trainer, batch_norm, statistics, affine):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    before = snapshot(model)
    make_trainer(
        model, inputs, FreezeLayers(all_but_head=True, batch_norm=batch_norm, quiet=True), learning_rate=0.1
    ).train()
    changed = moved(before, model)
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name in norms:
        assert (f"{name}.running_mean" in changed) is statistics
        assert (f"{name}.running_var" in changed) is statistics
        assert (f"{name}.weight" in changed) is affine
    others = {name for name in before if not inside({name}, norms) and "classifier" not in name}
    assert changed.isdisjoint(others)
    assert "classifier.1.weight" in changed


CHOICES = [
    ({"first": 2}, [0, 1]),
    ({"last": 2}, [2, 3]),
    ({"but_last": 1}, [0, 1, 2, 3]),
    ({"but_last": 3}, [0, 1]),
    ({"fraction": 0.5}, [0, 1]),
    ({"fraction": 0.01}, [0]),
    ({"all_but_head": True}, [0, 1, 2, 3]),
    ({"general": 2}, [0, 1]),
    ({"general": 2, "modality": "speech"}, [2, 3]),
]


@pytest.mark.parametrize(("choice", "depths"), CHOICES)
def test_choices_by_depth(choice, depths):
    model, _ = tiny.TRANSFORMERS["bert"]()
    groups = FreezeLayers(**choice).apply(model)
    assert [depth for depth, group in enumerate(groups) if group.num_trainable == 0] == depths
    assert all(group.num_trainable in (0, group.num_parameters) for group in groups)


@pytest.mark.parametrize(
    ("family", "end"), [("vit", "first"), ("bert", "first"), ("wav2vec2", "last"), ("whisper", "last")]
)
def test_general_layers_are_at_the_end_that_the_modality_says(family, end):
    model, _ = tiny.TRANSFORMERS[family]()
    groups = FreezeLayers(general=1).apply(model)
    frozen = [depth for depth, group in enumerate(groups) if group.num_trainable == 0]
    assert frozen == [0 if end == "first" else len(groups.body) - 1]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("bert.encoder.layer.0.*", lambda n: n.startswith("bert.encoder.layer.0.")),
        ("*.bias", lambda n: n.endswith(".bias")),
        (r"re:bert\.encoder\.layer\.\d+\.attention", lambda n: ".attention." in n),
        (["bert.embeddings.*", "bert.pooler.*"], lambda n: "embeddings" in n or "pooler" in n),
    ],
)
def test_names_freeze_what_matches(make_trainer, names, wanted):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    before = snapshot(model)
    make_trainer(model, inputs, FreezeLayers(names=names, quiet=True), learning_rate=0.1).train()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if wanted(name)}
    assert moved(before, model).isdisjoint(frozen)
    assert model.train().bert.encoder.layer[1].output.dropout.training


def test_a_layer_frozen_by_name_has_its_dropout_off():
    model, _ = tiny.TRANSFORMERS["bert"]()
    FreezeLayers(names="bert.encoder.layer.0.*").apply(model)
    model.train()
    assert not any(module.training for module in model.bert.encoder.layer[0].modules())
    assert all(module.training for module in model.bert.encoder.layer[1].modules())


def test_undo_thaws_what_it_froze_and_nothing_else():
    model, _ = tiny.TRANSFORMERS["bert"]()
    model.bert.pooler.dense.bias.requires_grad_(False)
    FreezeLayers(first=1).apply(model)
    callback = FreezeLayers(all_but_head=True)
    callback.apply(model)
    callback.undo(model)
    groups = layer_groups(model)
    assert groups[0].num_trainable == 0
    assert groups[1].num_trainable == groups[1].num_parameters
    assert not model.bert.pooler.dense.bias.requires_grad
    assert model.train().bert.encoder.layer[0].output.dropout.training
    assert not model.bert.embeddings.dropout.training


def test_added_to_a_trainer_that_exists_it_freezes_too(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    before = snapshot(model)
    trainer = make_trainer(model, inputs, learning_rate=0.1)
    trainer.create_optimizer()
    trainer.add_callback(FreezeLayers(all_but_head=True, quiet=True))
    trainer.train()
    assert moved(before, model) == {"classifier.weight", "classifier.bias"}


def test_with_layerwise_rates_in_either_order(make_trainer):
    results = []
    for early in (True, False):
        torch.manual_seed(0)
        model, inputs = tiny.TRANSFORMERS["bert"]()
        before = snapshot(model)
        callback = FreezeLayers(first=2, quiet=True)
        if early:
            callback.apply(model)
        args = make_trainer(model, inputs, weight_decay=0.1, learning_rate=1e-2).args
        pair = layerwise_optimizer(model, args, decay=0.5)
        make_trainer(model, inputs, callback, optimizer=pair, learning_rate=1e-2, max_steps=6).train()
        frozen = {name for group in layer_groups(model)[:2] for name in group.parameters}
        assert moved(before, model).isdisjoint(frozen)
        results.append(snapshot(model))
    assert all(torch.equal(results[0][name], value) for name, value in results[1].items())


def test_the_table_is_logged_as_information_unless_quiet(make_trainer, said):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    make_trainer(model, inputs, FreezeLayers(first=3), max_steps=1).train()
    assert "1,907 parameters, 99 trainable (5.2%)" in said()
    make_trainer(model, inputs, FreezeLayers(first=3, quiet=True), max_steps=1).train()
    assert "parameters, " not in said()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "exactly one of first, last, but_last, fraction, all_but_head, names, general; none was given"),
        ({"first": 1, "last": 1}, "given were first, last"),
        ({"first": 1, "batch_norm": "off"}, "batch_norm='off' is unknown; choose one of freeze, update, affine_only"),
        ({"first": 1, "dropout": "none"}, "dropout='none' is unknown; choose one of off, on"),
    ],
)
def test_wrong_settings_are_told_at_once(settings, sentence):
    with pytest.raises(SettingsError, match=sentence):
        FreezeLayers(**settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"first": 5}, "first=5 is out of range: this model has 4 groups before the head"),
        ({"first": 0}, "from 1 to 4"),
        ({"first": 1.5}, "first=1.5 is not what it should be"),
        ({"but_last": 5}, "but_last=5 is out of range: this model has 4 groups, the head counted"),
        ({"fraction": 1.5}, r"fraction=1.5 is outside \(0, 1\]"),
        ({"names": "*"}, r"FreezeLayers\(names='\*'\) leaves nothing to train in BertForSequenceClassification"),
        ({"names": "layer1.*"}, "'layer1.*' matches no parameter. Names look like bert.embeddings"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_told_before_training(make_trainer, settings, sentence):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    with pytest.raises(SettingsError, match=sentence):
        make_trainer(model, inputs, FreezeLayers(**settings))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_all_but_head_needs_a_head():
    model, _ = tiny.GENERATORS["gpt2_lm"]()
    with pytest.raises(SettingsError, match="needs a model with a head of its own: give it one with replace_head"):
        FreezeLayers(all_but_head=True).apply(model)


def test_but_last_counts_the_head():
    model, _ = tiny.TRANSFORMERS["vit"]()
    assert frozen_depths(layer_groups(model), "but_last", 1, modality="") == range(4)
