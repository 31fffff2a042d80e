import copy

import pytest
import tiny
import torch
from torch import nn

from hf_transfer_kit.backbones import find_head, replace_head
from hf_transfer_kit.backbones.heads import last_layer
from hf_transfer_kit.errors import ModelError, SettingsError

MODELS = tiny.classifiers()


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    torch.manual_seed(0)
    model, inputs = MODELS[request.param]()
    return request.param, model, inputs


def logits_of(model, inputs):
    with torch.no_grad():
        output = tiny.run(model.eval(), inputs)
    return output if isinstance(output, torch.Tensor) else output.logits


def test_only_the_last_layer_changes_and_logits_have_the_new_width(case):
    _name, original, inputs = case
    model = copy.deepcopy(original)
    replaced, _ = last_layer(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    assert replace_head(model, id2label={i: f"class {i}" for i in range(7)}, seed=1) is model
    assert logits_of(model, inputs).shape[-1] == 7
    after = dict(model.named_parameters())
    assert set(after) == set(before)
    changed = {n for n in before if before[n].shape != after[n].shape or not torch.equal(before[n], after[n])}
    assert changed == {n for n in before if n.startswith(f"{replaced}.")}
    if hasattr(model, "config"):
        assert (model.config.num_labels, model.config.id2label[6], model.config.label2id["class 2"]) == (
            7,
            "class 6",
            2,
        )


def test_saved_and_reloaded_models_agree(case, tmp_path):
    _name, original, inputs = case
    if not hasattr(original, "config"):
        pytest.skip("a bare timm network has no save_pretrained")
    model = replace_head(copy.deepcopy(original), id2label={i: f"class {i}" for i in range(4)}, seed=1).eval()
    model.save_pretrained(tmp_path)
    reloaded = type(model).from_pretrained(tmp_path).eval()
    assert reloaded.config.id2label == {i: f"class {i}" for i in range(4)}
    torch.testing.assert_close(logits_of(model, inputs), logits_of(reloaded, inputs), rtol=1e-5, atol=1e-6)


def test_the_new_layer_is_trained_by_a_loss_of_its_classes():
    model, inputs = MODELS["bert"]()
    replace_head(model, 4)
    loss = model(**inputs, labels=torch.tensor([0, 3])).loss
    loss.backward()
    assert model.classifier.weight.grad.abs().sum() > 0
    assert model.num_labels == 4


def test_the_seed_decides_the_weights_and_leaves_the_global_state():
    state = torch.get_rng_state()
    first, second, other = (replace_head(tiny.sequential()[0], 3, seed=s)[-1].weight for s in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    torch.set_rng_state(state)
    model, _ = tiny.sequential()
    state = torch.get_rng_state()
    replace_head(model, 3, seed=5)
    assert torch.equal(state, torch.get_rng_state())


def test_zeros_and_whole_head():
    model, inputs = MODELS["roberta"]()
    dense = model.classifier.dense.weight.detach().clone()
    replace_head(model, 3, init="zeros")
    assert logits_of(model, inputs).abs().max() == 0
    assert torch.equal(model.classifier.dense.weight, dense)
    replace_head(model, 3, whole_head=True, seed=1)
    assert not torch.equal(model.classifier.dense.weight, dense)


def test_the_initialisation_is_the_models_own():
    model, _ = MODELS["bert"]()
    model.config.initializer_range = 0.5
    replace_head(model, 2000, seed=0)
    assert model.classifier.weight.std().item() == pytest.approx(0.5, rel=0.05)
    assert model.classifier.bias.abs().max() == 0


def test_a_model_without_head_is_refused_by_name():
    from transformers import BertConfig, BertModel

    with pytest.raises(ModelError, match="BertModel has no head"):
        replace_head(BertModel(BertConfig(vocab_size=8, **tiny.SIZES)), 3)
    assert find_head(nn.Sequential(nn.Conv2d(3, 3, 1))) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "num_labels=None"),
        ({"num_labels": 0}, "num_labels=0"),
        ({"id2label": {0: "a", 2: "b"}}, "without a gap"),
        ({"num_labels": 3, "id2label": {0: "a"}}, "as many as num_labels"),
        ({"num_labels": 3, "init": "ones"}, "choose 'default' or 'zeros'"),
    ],
)
def test_bad_labels_are_refused(arguments, message):
    with pytest.raises(SettingsError, match=message):
        replace_head(tiny.sequential()[0], **arguments)
