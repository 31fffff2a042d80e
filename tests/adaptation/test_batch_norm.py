"""Whose statistics normalise which rows, against BatchNorm by hand."""

import pytest
import tiny
import torch
from torch import nn
from torch.utils.data import default_collate

from hf_transfer_kit.adaptation import DomainAdversarialModel, ReestimateBatchNorm, reestimate_batch_norm
from hf_transfer_kit.adaptation.batch_norm import join_domains, separate_domains
from hf_transfer_kit.errors import DataError


def _net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()


def _rows(count, shift, seed):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)).double() + shift


def _normalised(layer, rows):
    hidden = layer(rows)
    return (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()


@pytest.mark.parametrize("apart", [True, False])
def test_each_domain_by_its_own_batch_and_its_own_running_statistics(apart):
    net, source, target = _net(), _rows(8, 0.0, 1), _rows(6, 5.0, 2)
    reading = separate_domains(net, per_domain=True)
    if apart:
        outputs = []
        for reading.rows, rows in (("source", source), ("target", target)):
            outputs.append(net[:2](rows))
    else:
        reading.rows = len(source)
        outputs = net[:2](torch.cat([source, target])).split([8, 6])
    for rows, output in zip((source, target), outputs, strict=True):
        assert torch.allclose(output, _normalised(net[0], rows), atol=1e-12)
    for rows, prefix in ((source, "source_"), (target, "")):
        hidden = net[0](rows)
        assert torch.allclose(getattr(net[1], f"{prefix}running_mean"), 0.1 * hidden.mean(0), atol=1e-12)
        assert torch.allclose(getattr(net[1], f"{prefix}running_var"), 0.9 + 0.1 * hidden.var(0), atol=1e-12)
        assert int(getattr(net[1], f"{prefix}num_batches_tracked")) == 1


def test_joint_statistics_are_those_of_a_plain_batch():
    net, plain, rows = _net(), _net(), torch.cat([_rows(8, 0.0, 1), _rows(6, 5.0, 2)])
    separate_domains(net, per_domain=False).rows = 8
    assert torch.equal(net(rows), plain(rows))
    assert set(net.state_dict()) == set(plain.state_dict())
    assert torch.equal(net[1].running_var, plain[1].running_var)


def test_looking_again_remembers_nothing():
    net, rows = _net(), _rows(8, 1.0, 1)
    separate_domains(net, per_domain=True).rows = "again"
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert torch.allclose(net[:2](rows), _normalised(net[0], rows), atol=1e-12)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net[1].track_running_stats


def test_joining_leaves_an_ordinary_network_with_the_targets_statistics():
    net = _net()
    classes, names = [type(module) for module in net], set(net.state_dict())
    reading = separate_domains(net, per_domain=True)
    reading.rows = "source"
    net(_rows(8, 3.0, 1))
    join_domains(net)
    assert [type(module) for module in net] == classes
    assert set(net.state_dict()) == names
    assert net[1].running_mean.abs().max() == 0


def test_evaluation_uses_the_domain_that_is_asked_for():
    network, inputs = tiny.TRANSFORMERS["resnet"]()
    model = DomainAdversarialModel.from_classifier(network).train()
    target = {"target_pixel_values": inputs["pixel_values"] * 4 + 2}
    model(**inputs, **target, labels=torch.zeros(2, dtype=torch.long))
    model.eval()
    as_target = model(**inputs).logits
    model.evaluate_as = "source"
    as_source = model(**inputs).logits
    assert not torch.allclose(as_target, as_source, atol=1e-4)
    model.evaluate_as = "target"
    assert torch.equal(model.export_classifier()(**inputs).logits, as_target)


@pytest.mark.parametrize("adapted", [True, False])
def test_reestimation_gathers_the_mean_over_batches_of_the_target(adapted):
    network, _ = tiny.TRANSFORMERS["resnet"]()
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 + 1
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        halves = [convolution(part).transpose(0, 1).flatten(1) for part in images.split(4)]
    model = DomainAdversarialModel.from_classifier(network) if adapted else network
    model.train()
    others = {name: value.clone() for name, value in model.named_parameters()}
    rows = [{"pixel_values": image, "labels": 10**6} for image in images]
    reestimate_batch_norm(model, rows, default_collate, batch_size=4)
    assert torch.allclose(norm.running_mean, sum(half.mean(1) for half in halves) / 2, atol=1e-5)
    assert torch.allclose(norm.running_var, sum(half.var(1) for half in halves) / 2, atol=1e-5)
    assert norm.momentum == 0.1
    assert all(module.training for module in model.modules())
    assert all(torch.equal(others[name], value) for name, value in model.named_parameters())


def test_reestimation_at_the_end_of_training_does_not_depend_on_target_labels():
    results = []
    for label in (0, 1):
        torch.manual_seed(0)
        network, inputs = tiny.TRANSFORMERS["resnet"]()
        rows = [{"pixel_values": image, "labels": label} for image in inputs["pixel_values"]]
        ReestimateBatchNorm(rows, default_collate).on_train_end(None, None, None, model=network)
        results.append(network.state_dict())
    assert all(torch.equal(results[0][name], value) for name, value in results[1].items())


def test_a_collator_that_insists_on_labels_gets_by_on_an_unlabelled_target():
    def collate(rows):
        return {"pixel_values": torch.stack([r["pixel_values"] for r in rows]), "labels": [r["labels"] for r in rows]}

    statistics = []
    for labelled in (True, False):
        model = tiny.timm_wrapped("resnet18")[0]
        images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        rows = [{"pixel_values": image, **({"labels": 3} if labelled else {})} for image in images]
        torch.manual_seed(0)
        for layer in model.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        reestimate_batch_norm(model, rows, collate, batch_size=6)
        statistics.append(model.timm_model.layer2[0].bn1.running_mean.clone())
    assert torch.equal(*statistics)
    assert statistics[0].abs().max() > 0


def test_a_network_without_batch_norm_stays_and_no_rows_are_refused():
    network, _ = tiny.TRANSFORMERS["bert"]()
    assert reestimate_batch_norm(network, [{}], default_collate) is network
    with pytest.raises(DataError, match="The target is empty"):
        reestimate_batch_norm(network, [], default_collate)
    model = DomainAdversarialModel.from_classifier(network)
    assert not model.has_batch_norm
    assert not [name for name in model.state_dict() if "source_" in name]
