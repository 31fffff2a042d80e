"""Freezing by several owners, held through every train()."""

import copy
import pickle

import pytest
import tiny
import torch
from snapshots import moved, snapshot
from torch import nn

from hf_transfer_kit import layer_groups
from hf_transfer_kit.backbones.adapters import adapter_parameters
from hf_transfer_kit.tuning.freezing.frozen import batch_norm_parameters, freeze, is_frozen_by, is_held, thaw


def small_network():
    torch.manual_seed(0)
    model, inputs = tiny.sequential()
    return model, inputs, layer_groups(model)


def trainable(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_a_parameter_is_frozen_while_anyone_freezes_it():
    model, _, groups = small_network()
    everything = trainable(model)
    freeze(model, groups[:2], owner="a")
    freeze(model, groups[1:3], owner="b")
    union = set(groups[0].parameters) | set(groups[1].parameters) | set(groups[2].parameters)
    assert trainable(model) == everything - union
    thaw(model, owner="a")
    assert not is_frozen_by(model, owner="a")
    assert is_frozen_by(model, owner="b")
    assert trainable(model) == everything - set(groups[1].parameters) - set(groups[2].parameters)
    thaw(model, owner="b")
    thaw(model, owner="b")
    assert trainable(model) == everything


def test_a_later_call_of_an_owner_moves_its_part():
    model, _, groups = small_network()
    everything = trainable(model)
    freeze(model, groups[:2], owner="a")
    freeze(model, groups[2:3], owner="a")
    assert trainable(model) == everything - set(groups[2].parameters)
    assert model.train()[0].training
    assert model[1].training


def test_what_was_frozen_by_hand_stays_frozen():
    model, _, groups = small_network()
    model[0].bias.requires_grad_(False)
    freeze(model, groups, owner="a")
    thaw(model, owner="a")
    assert not model[0].bias.requires_grad
    assert model[0].weight.requires_grad


def test_frozen_modules_stay_in_evaluation_mode_through_train_and_forget_it_when_thawed():
    model, inputs, groups = small_network()
    before = snapshot(model)
    freeze(model, groups.body, owner="a")
    for _ in range(3):
        model.train()
        model(inputs)
    assert not moved(before, model)
    assert [module.training for module in model] == [is_held(module) is False for module in model]
    thaw(model, owner="a")
    assert not any(is_held(module) for module in model.modules())
    model(inputs)
    assert moved(before, model) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_a_thawed_module_takes_the_mode_of_the_model():
    model, _, groups = small_network()
    model.eval()
    freeze(model, groups.body, owner="a")
    thaw(model, owner="a")
    assert not any(module.training for module in model.modules())


def test_freezing_drops_gradients():
    model, inputs, groups = small_network()
    model(inputs).sum().backward()
    freeze(model, groups[:1], owner="a")
    assert all(parameter.grad is None for parameter in groups[0].parameters.values())
    assert groups[-1].parameters["8.weight"].grad is not None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_frozen_on_its_own(copied):
    model, inputs, groups = small_network()
    freeze(model, groups.body, owner="a")
    twin = copied(model)
    before = snapshot(twin)
    twin.train()(inputs)
    assert not moved(before, twin)
    thaw(twin, owner="a")
    assert twin.train()[1].training
    assert not model.train()[1].training
    assert trainable(model) == {"8.weight", "8.bias"}


def test_nothing_of_it_is_in_the_state_dict():
    model, _, groups = small_network()
    keys = list(model.state_dict())
    freeze(model, groups.body, owner="a")
    assert list(model.state_dict()) == keys
    small_network()[0].load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    ("batch_norm", "held", "affine"), [("freeze", True, False), ("update", False, False), ("affine_only", True, True)]
)
@pytest.mark.parametrize("dropout", ["off", "on"])
def test_options(batch_norm, held, affine, dropout):
    model, _, groups = small_network()
    freeze(model, groups.body, owner="a", batch_norm=batch_norm, dropout=dropout)
    model.train()
    assert model[1].training is not held
    assert model[1].weight.requires_grad is affine
    assert model[3].training is (dropout == "on")
    assert not model[0].weight.requires_grad


def test_the_stricter_owner_decides_about_batch_norm():
    model, _, groups = small_network()
    freeze(model, groups.body, owner="a", batch_norm="update")
    freeze(model, groups.body, owner="b", batch_norm="freeze")
    assert not model.train()[1].training
    thaw(model, owner="b")
    assert model.train()[1].training


def test_a_module_whose_train_somebody_shadowed_is_left_to_them():
    model, _, groups = small_network()
    theirs = lambda mode=True: model[1]  # noqa: E731
    model[1].train = theirs
    freeze(model, groups.body, owner="a")
    thaw(model, owner="a")
    assert model[1].train is theirs


def test_containers_with_nothing_left_to_train_are_held_since_they_may_drop_layers():
    model, _ = tiny.TRANSFORMERS["wav2vec2"]()
    groups = layer_groups(model)
    freeze(model, groups.body, owner="a")
    assert not model.train().wav2vec2.encoder.training
    assert model.training
    freeze(model, groups.body[:-1], owner="a")
    assert model.train().wav2vec2.encoder.training


def test_batch_norm_parameters_are_the_affine_ones():
    model, _, _ = small_network()
    assert batch_norm_parameters(model) == {"1.weight", "1.bias"}
    assert batch_norm_parameters(nn.Sequential(nn.InstanceNorm2d(2, affine=True), nn.LayerNorm(2))) == set()


def test_adapters_are_told_by_peft_whatever_their_kind():
    peft = pytest.importorskip("peft")
    kinds = {
        "lora": peft.LoraConfig(task_type="SEQ_CLS", r=2, use_dora=True),
        "ia3": peft.IA3Config(task_type="SEQ_CLS", target_modules=["query"], feedforward_modules=[]),
        "ln": peft.LNTuningConfig(task_type="SEQ_CLS", target_modules=["LayerNorm"]),
        "prompt": peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2),
    }
    for kind, config in kinds.items():
        model = peft.get_peft_model(tiny.TRANSFORMERS["bert"]()[0], config)
        assert trainable(model) <= adapter_parameters(model), kind
        freeze(model, layer_groups(model), owner="a", spare_adapters=True)
        assert trainable(model) == trainable(peft.get_peft_model(tiny.TRANSFORMERS["bert"]()[0], config)), kind
    assert adapter_parameters(tiny.TRANSFORMERS["bert"]()[0]) == set()
