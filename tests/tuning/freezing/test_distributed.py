"""What distributed training and activation checkpointing ask of freezing is checked before training."""

import pytest
import tiny
import torch
from snapshots import labelled_rows, moved, snapshot
from trainer_names import CHECKPOINTING, enable_checkpointing, is_checkpointing
from transformers import Trainer
from transformers.training_args import ParallelMode

from hf_transfer_kit import FreezeLayers, GradualUnfreezing
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.freezing.distributed import check_freezing, check_late_freezing, finds_unused_parameters


@pytest.fixture
def make_trainer(training_arguments):
    def make(model, inputs, *callbacks, **settings):
        given = {"per_device_train_batch_size": 4, "max_steps": 3, "learning_rate": 0.1}
        args = training_arguments(**{**given, **settings})
        return Trainer(model, args, train_dataset=labelled_rows(inputs), callbacks=list(callbacks))

    return make


@pytest.fixture
def distributed_arguments(training_arguments, monkeypatch):
    """Arguments that say they are those of one of several processes."""

    def make(**settings):
        args = training_arguments(**settings)
        monkeypatch.setattr(type(args), "parallel_mode", property(lambda self: ParallelMode.DISTRIBUTED))
        return args

    return make


@pytest.mark.parametrize("checkpointing", [{}, {"activation_checkpointing_kwargs": {"use_reentrant": False}}])
@pytest.mark.parametrize(
    "callback", [lambda: FreezeLayers(first=2, quiet=True), lambda: GradualUnfreezing(every="1 steps", quiet=True)]
)
@pytest.mark.parametrize("family", ["bert", "vit"])
def test_frozen_first_layers_train_under_activation_checkpointing(make_trainer, family, callback, checkpointing):
    results = []
    for settings in ({}, {"activation_checkpointing": True, **checkpointing}):
        torch.manual_seed(0)
        model, inputs = tiny.TRANSFORMERS[family]()
        before = snapshot(model)
        make_trainer(model, inputs, callback(), **settings).train()
        assert is_checkpointing(model) is bool(settings)
        results.append((snapshot(model), moved(before, model)))
    assert any(".1." in name for name in results[1][1])
    assert results[0][1] == results[1][1]
    assert all(torch.equal(results[0][0][name], value) for name, value in results[1][0].items())


@pytest.mark.parametrize("given", [{"use_reentrant": True}, {"determinism_check": "none"}])
@pytest.mark.parametrize("callback", [lambda: FreezeLayers(first=1), lambda: GradualUnfreezing(every=0.5)])
def test_reentrant_checkpointing_is_refused(make_trainer, callback, given):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    with pytest.raises(SettingsError, match=rf"Set {CHECKPOINTING}_kwargs=\{{'use_reentrant': False\}}"):
        make_trainer(model, inputs, callback(), activation_checkpointing=True, activation_checkpointing_kwargs=given)


def test_reentrant_checkpointing_switched_on_in_the_model_is_refused(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    enable_checkpointing(model, {"use_reentrant": True})
    with pytest.raises(SettingsError, match=r"\(switched on in bert"):
        make_trainer(model, inputs, FreezeLayers(first=1))
    enable_checkpointing(model, {"use_reentrant": False})
    make_trainer(model, inputs, FreezeLayers(first=1, quiet=True)).train()


def test_offloading_and_sparse_checkpointing_are_allowed(training_arguments):
    if CHECKPOINTING != "activation_checkpointing":
        pytest.skip("this Trainer hands all of them to torch, which has no such ones")
    model, _ = tiny.TRANSFORMERS["bert"]()
    args = training_arguments(activation_checkpointing=True, activation_checkpointing_kwargs={"every_n_layers": 2})
    check_freezing(model, args)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ddp_find_unused_parameters": False}, "would wait. Set ddp_find_unused_parameters=True."),
        (
            {"activation_checkpointing": True},
            "Set ddp_find_unused_parameters=True (Trainer leaves it off with activation checkpointing) and "
            f"{CHECKPOINTING}_kwargs={{'use_reentrant': False}}.",
        ),
        ({"ddp_static_graph": True}, "a static graph cannot change. Set ddp_static_graph=False."),
        ({"auto_find_batch_size": True}, "Set auto_find_batch_size=False."),
    ],
)
def test_settings_under_which_a_schedule_would_hang_or_drift_are_refused(distributed_arguments, settings, sentence):
    model, _ = tiny.TRANSFORMERS["bert"]()
    with pytest.raises(SettingsError) as raised:
        check_late_freezing(model, distributed_arguments(**settings), asked_by="GradualUnfreezing")
    assert str(raised.value).startswith("GradualUnfreezing")
    assert str(raised.value).endswith(sentence)


def test_what_trainer_does_by_itself_is_allowed(distributed_arguments):
    model, _ = tiny.TRANSFORMERS["bert"]()
    check_late_freezing(model, distributed_arguments(), asked_by="GradualUnfreezing")
    both = {"activation_checkpointing": True, "ddp_find_unused_parameters": True}
    check_late_freezing(model, distributed_arguments(**both), asked_by="GradualUnfreezing")


def test_unused_parameters_are_found_as_trainer_decides(training_arguments):
    model, _ = tiny.TRANSFORMERS["bert"]()
    assert finds_unused_parameters(model, training_arguments())
    assert not finds_unused_parameters(model, training_arguments(activation_checkpointing=True))
    assert not finds_unused_parameters(model, training_arguments(ddp_find_unused_parameters=False))
    enable_checkpointing(model)
    assert not finds_unused_parameters(model, training_arguments())
    assert finds_unused_parameters(torch.nn.Linear(1, 1), training_arguments())


def test_training_again_after_thawing_by_hand_is_refused(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    callback = FreezeLayers(first=2, quiet=True)
    trainer = make_trainer(model, inputs, callback)
    trainer.train()
    trainer.train()
    callback.undo(model)
    model.bert.pooler.requires_grad_(False)
    FreezeLayers(first=1).apply(model)
    for parameter in model.bert.encoder.layer[0].parameters():
        parameter.requires_grad_(True)
    with pytest.raises(SettingsError, match=r"does not hold \(bert.encoder.layer.0.*Make a new Trainer"):
        trainer.train()


DISTRIBUTED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import tiny, torch
from snapshots import labelled_rows
from trainer_names import named
from transformers import Trainer, TrainingArguments
from hf_transfer_kit import FreezeLayers, GradualUnfreezing
from hf_transfer_kit.errors import SettingsError

def make(*callbacks, **settings):
    torch.manual_seed(0)
    model, inputs = tiny.TRANSFORMERS["bert"]()
    args = TrainingArguments(sys.argv[2], use_cpu=True, ddp_backend="gloo", report_to=[], max_steps=4, save_strategy="no",
                             per_device_train_batch_size=2, disable_tqdm=True, **named(settings))
    return Trainer(model, args, train_dataset=labelled_rows(inputs), callbacks=list(callbacks))

def refused(sentence, act):
    try:
        act()
    except SettingsError as error:
        assert sentence in str(error), error
    else:
        raise AssertionError(f"not refused: {sentence}")

def ranks_equal(model):
    for name, value in model.state_dict().items():
        other = [torch.empty_like(value) for _ in range(2)]
        torch.distributed.all_gather(other, value.contiguous())
        assert torch.equal(*other), name

refused("Set ddp_find_unused_parameters=True", lambda: make(GradualUnfreezing(every=0.5), ddp_find_unused_parameters=False))
refused("Set ddp_find_unused_parameters=True (Trainer leaves it off",
        lambda: make(GradualUnfreezing(every=0.5), activation_checkpointing=True))

callback = FreezeLayers(first=2, quiet=True)
trainer = make(callback, ddp_find_unused_parameters=False)
trainer.train()
ranks_equal(trainer.model)
for parameter in trainer.model.bert.encoder.layer[0].parameters():
    parameter.requires_grad_(True)
refused("were frozen when this Trainer first wrapped the model", trainer.train)

trainer = make(GradualUnfreezing(every="1 steps", quiet=True), activation_checkpointing=True, ddp_find_unused_parameters=True)
trainer.train()
ranks_equal(trainer.model)
torch.distributed.barrier()
os._exit(0)  # taking gloo's threads down now and then aborts
"""


def test_under_distributed_data_parallel(two_processes, tmp_path):
    two_processes(DISTRIBUTED, tiny.__file__.rpartition("/")[0], tmp_path)
