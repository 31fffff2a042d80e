"""The model that adapts: one step of it in numbers, for every family, saved, exported and compiled."""

import copy
import math

import pytest
import tiny
import torch
from trainer_names import enable_checkpointing, is_checkpointing
from transformers import AutoModel, AutoModelForImageClassification, AutoModelForSequenceClassification

from hf_transfer_kit import FreezeLayers
from hf_transfer_kit.adaptation import (
    DannMnistConfig,
    DannMnistForImageClassification,
    DomainAdversarialConfig,
    DomainAdversarialModel,
)
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.tuning.scalars import take_scalars

FAMILIES = (
    "wrapped/resnet18",
    "wrapped/convnext_atto",
    "wrapped/vit_tiny_patch16_224",
    "bert",
    "roberta",
    "distilbert",
    "t5",
    "gpt2",
    "llama",
    "vit",
    "resnet",
    "wav2vec2_stable",
    "whisper",
)


def _classifier(family):
    network, inputs = tiny.classifiers()[family]()
    return network.eval(), inputs


def _step(inputs, target=None, rows=2):
    target = inputs if target is None else target
    return {**inputs, **{f"target_{name}": value for name, value in target.items()}, "labels": torch.arange(rows) % 2}


def _paper_model(**settings):
    torch.manual_seed(0)
    options = {"batch_norm": "per_domain", "together": None, **settings}
    network = DannMnistForImageClassification(DannMnistConfig(batch_norm=options.pop("layers", False)))
    return DomainAdversarialModel.from_classifier(network, **options).train()


def _images(rows, seed, scale=1.0):
    return scale * torch.randn(rows, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_keeps_its_weights_adapts_saves_and_comes_out_as_it_was(family, tmp_path):
    network, inputs = _classifier(family)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = DomainAdversarialModel.from_classifier(network)
    assert all(torch.equal(model.network.state_dict()[name], value) for name, value in before.items())

    model.train()
    model(**_step(inputs)).loss.backward()
    without = [name for name, parameter in model.objective.named_parameters() if parameter.grad is None]
    assert without == []

    model.eval()
    with torch.no_grad():
        logits, features = model.read(inputs)
        assert features.shape == (2, model.label_head.width)
        assert torch.allclose(model.label_head.classify(features), logits, atol=1e-6)
        model.save_pretrained(tmp_path / "adapted")
        again = AutoModel.from_pretrained(tmp_path / "adapted").eval()
        assert set(again.state_dict()) == set(model.state_dict())
        assert torch.equal(again(**inputs).logits, logits)
        exported = model.export_classifier()
        assert type(exported) is type(network)
        assert set(exported.state_dict()) == set(before)
        exported.save_pretrained(tmp_path / "plain")
        plain = type(exported).from_pretrained(tmp_path / "plain").eval()
        assert torch.equal(plain(**inputs).logits, logits)
        assert not any("hf_transfer_kit" in type(module).__module__ for module in exported.modules())


def test_the_loss_is_cross_entropy_of_the_source_plus_terms_and_all_are_recorded():
    model = _paper_model()
    model.strength.fill_(0.3)
    out = model(**_step({"pixel_values": _images(4, 0)}, {"pixel_values": _images(6, 1)}, rows=4))
    recorded = {name: total for name, (total, count) in take_scalars(model).items() if count == 1}
    assert out.logits.shape == (4, 10)
    expected = torch.nn.functional.cross_entropy(out.logits, torch.arange(4) % 2)
    assert recorded["class_loss"] == pytest.approx(expected.item())
    assert recorded["domain_loss"] == pytest.approx(math.log(2), abs=0.1)
    assert recorded["class_loss"] + recorded["domain_loss"] == pytest.approx(out.loss.item(), rel=1e-6)
    assert recorded["adversarial_strength"] == pytest.approx(0.3)
    assert 0 <= recorded["domain_accuracy"] <= 1


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("layers", [True, False])
def test_the_label_branch_gets_exactly_nothing_from_target_rows(together, layers):
    gradients = []
    for scale in (1.0, 50.0):
        model = _paper_model(together=together, layers=layers)
        target = {"pixel_values": _images(4, 1, scale)}
        model(**_step({"pixel_values": _images(4, 0)}, target, rows=4)).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.label_head.module.parameters()])
        first = model.network.dann_mnist.blocks[0][0].weight.grad
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert first.abs().sum() > 0


@pytest.mark.parametrize("layers", [True, False])
def test_together_and_apart_are_the_same_step(layers):
    results = []
    for together in (True, False):
        model = _paper_model(together=together, layers=layers).double()
        target = {"pixel_values": _images(6, 1).double() * 3 + 1}
        out = model(**_step({"pixel_values": _images(4, 0).double()}, target, rows=4))
        out.loss.backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        results.append([out.loss.detach(), *gradients, *(b for b in model.buffers())])
    assert len(results[0]) > 15
    assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in zip(*results, strict=True))


def test_the_body_gets_the_reversed_gradient_of_the_domain_loss():
    gradients = {}
    for strength in (0.0, 1.0, 2.0):
        model = _paper_model().double()
        model.strength.fill_(strength)
        target = {"pixel_values": _images(4, 1).double()}
        model(**_step({"pixel_values": _images(4, 0).double()}, target, rows=4)).loss.backward()
        gradients[strength] = model.network.dann_mnist.blocks[1][0].weight.grad
    once, twice = gradients[1.0] - gradients[0.0], gradients[2.0] - gradients[0.0]
    assert once.abs().max() > 1e-8
    assert torch.allclose(twice, 2 * once, rtol=1e-9, atol=1e-14)


def test_a_compiled_step_is_one_graph_at_every_strength():
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    model, reference = _paper_model(layers=True), _paper_model(layers=True)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    batch = _step({"pixel_values": _images(4, 0)}, {"pixel_values": _images(4, 1)}, rows=4)
    losses = []
    for strength in (0.1, 0.5, 0.9, 0.2, 0.7):
        for each in (model, reference):
            each.strength.fill_(strength)
        losses.append((compiled(**batch).loss.item(), reference(**batch).loss.item()))
    assert all(one == pytest.approx(other, rel=1e-5) for one, other in losses)
    norms = [each.network.dann_mnist.blocks[0][1] for each in (model, reference)]
    for name in ("running_mean", "source_running_mean", "source_running_var"):
        assert torch.allclose(getattr(norms[0], name), getattr(norms[1], name), rtol=1e-5)
    assert int(norms[0].num_batches_tracked) == int(norms[0].source_num_batches_tracked) == 5
    assert len(graphs) <= 3  # without and with scalars to add to; in torch 2.6 another once their number grows


def test_a_copy_is_a_model_of_its_own():
    model = _paper_model(layers=True)
    twin = copy.deepcopy(model)
    batch = _step({"pixel_values": _images(4, 0)}, {"pixel_values": _images(4, 1)}, rows=4)
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    loss = model(**batch).loss
    assert all(torch.equal(before[name], value) for name, value in twin.state_dict().items())
    assert torch.equal(twin(**batch).loss, loss)
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in model.state_dict().items())


def test_first_layers_freeze_with_the_statistics_of_both_domains():
    network, inputs = _classifier("wrapped/resnet18")
    model = DomainAdversarialModel.from_classifier(network)
    FreezeLayers(first=1, quiet=True).apply(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    model.train()(**_step(inputs)).loss.backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    assert not [name for name in moved if name.startswith(("network.timm_model.bn1", "network.timm_model.layer1"))]
    assert "network.timm_model.layer4.1.bn2.source_running_mean" in moved
    assert {name for name in moved if name.startswith("objective")} == {
        f"objective.{n}" for n, _ in model.objective.named_parameters()
    }


def test_checkpointed_activations_give_the_same_gradients_and_are_refused_beside_batch_norm():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network, inputs = _classifier("bert")
        model = DomainAdversarialModel.from_classifier(network)
        if checkpointing:
            enable_checkpointing(model, {"use_reentrant": False})
            assert is_checkpointing(model)
        model.train()
        torch.manual_seed(1)
        model(**_step(inputs)).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    with pytest.raises(ValueError, match="does not support"):
        enable_checkpointing(_paper_model(layers=True))


def test_auto_classes_make_it_from_a_configuration():
    config = DomainAdversarialConfig(DannMnistConfig(), num_labels=7, method="mmd")
    model = AutoModelForImageClassification.from_config(config)
    assert model(pixel_values=_images(2, 0)[:, :1]).logits.shape == (2, 7)
    assert model.network.classifier[-1].out_features == 7
    bert, inputs = _classifier("bert")
    text = AutoModelForSequenceClassification.from_config(DomainAdversarialConfig(bert.config))
    assert text(**inputs).logits.shape == (2, 3)


def test_names_of_classes_come_from_the_classifier(tmp_path):
    network, _ = _classifier("wrapped/resnet18")
    network.config.id2label = {i: f"class {i}" for i in range(5)}
    network.config.label2id = {f"class {i}": i for i in range(5)}
    DomainAdversarialModel.from_classifier(network).save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert again.config.id2label == network.config.id2label
    assert again.network.config.num_labels == 5


def test_bad_input_is_a_sentence():
    model = _paper_model()
    with pytest.raises(DataError, match="no input whose name begins with 'target_'"):
        model(pixel_values=_images(2, 0), labels=torch.zeros(2, dtype=torch.long))
    with pytest.raises(DataError, match=r"but got \(3, 32, 32\)"):
        model.eval()(pixel_values=torch.zeros(1, 3, 32, 32))
    model.evaluate_as = "both"
    with pytest.raises(SettingsError, match="domain='both' is unknown"):
        model(pixel_values=_images(2, 0))
    with pytest.raises(SettingsError, match="method='gan' is unknown"):
        DomainAdversarialConfig(DannMnistConfig(), method="gan")
    with pytest.raises(SettingsError, match="batch_norm='ada'"):
        DomainAdversarialConfig(DannMnistConfig(), batch_norm="ada")
    with pytest.raises(SettingsError, match="needs backbone_config"):
        DomainAdversarialModel(DomainAdversarialConfig())
    with pytest.raises(ModelError, match="load_model\\('timm/NAME'\\)"):
        DomainAdversarialModel.from_classifier(torch.nn.Linear(2, 2))


def test_a_backbone_without_pooled_features_is_refused():
    network, _ = tiny.TRANSFORMERS["bert_tokens"]()
    model = DomainAdversarialModel.from_classifier(network).train()
    with pytest.raises(ModelError, match="no pooled features"):
        model(**_step({"inputs_embeds": torch.randn(2, 6, 8)}))
