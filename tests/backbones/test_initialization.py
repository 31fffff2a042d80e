import copy

import pytest
import timm
import tiny
import torch

from hf_transfer_kit.backbones import layer_groups, reinitialize
from hf_transfer_kit.errors import SettingsError

MODELS = tiny.classifiers()
# Begun by the rule of its network, which is found by its name where no argument is its own.
MODELS["timm/vgg11"] = lambda: (timm.create_model("vgg11", num_classes=5), None)


@pytest.mark.parametrize("name", MODELS)
def test_structure_only_has_the_spread_of_a_fresh_model(name):
    torch.manual_seed(0)
    fresh, _ = MODELS[name]()
    model = copy.deepcopy(fresh)
    with torch.no_grad():
        for tensor in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            tensor.fill_(123.0)
    reinitialize(model, all=True, seed=3)
    for (parameter_name, value), reference in zip(model.named_parameters(), fresh.parameters(), strict=True):
        assert value.abs().max() < 100, parameter_name
        if reference.numel() >= 400:
            assert value.std().item() == pytest.approx(reference.std().item(), rel=0.25, abs=1e-6), parameter_name
    for buffer_name, buffer in model.named_buffers():
        if "running" in buffer_name:
            assert set(buffer.flatten().tolist()) <= {0.0, 1.0}, buffer_name


def test_only_the_last_groups_change():
    model, _ = MODELS["timm/resnet18"]()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.fill_(2.0)
    before = copy.deepcopy(model.state_dict())
    reinitialize(model, last=2, seed=7)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.startswith(("layer4", "fc")) for name in changed)
    assert {"layer4.0.conv1.weight", "layer4.0.bn1.running_mean", "fc.weight"} <= changed
    assert "layer3.0.bn1.running_mean" not in changed


def test_the_seed_decides():
    models = [reinitialize(MODELS["bert"]()[0], all=True, seed=seed) for seed in (1, 1, 2)]
    weights = [model.bert.embeddings.word_embeddings.weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_out_of_range_is_refused_with_the_number_of_groups():
    model, _ = tiny.sequential()
    with pytest.raises(SettingsError, match="last=5 is out of range: the model has 4 layer groups"):
        reinitialize(model, last=5)
    with pytest.raises(SettingsError, match="exactly one"):
        reinitialize(model)
    assert len(layer_groups(reinitialize(model, last=4))) == 4
