"""Separate inputs: their own first layers, other channels, other vocabularies."""

import pytest
import tiny
import torch
from multitask_packed import gradients, picture_batch, picture_model, text_batch, text_model
from torch.nn import BatchNorm2d
from transformers import AutoModel

from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.multitask import MultiTaskModel
from hf_transfer_kit.multitask.stems import own_modules

PICTURES = (
    "wrapped/resnet18",
    "wrapped/mobilenetv2_100",
    "wrapped/vit_tiny_patch16_224",
    "vit",
    "resnet",
    "convnext",
    "swin",
)
TWO_LANGUAGES = {
    "questions": {"type": "classification", "num_labels": 3, "input": "english"},
    "names": {"type": "token_classification", "num_labels": 4, "input": "german"},
}


def _two_languages(**settings):
    return text_model(TWO_LANGUAGES, inputs={"english": {}, "german": {"vocab_size": 60}}, **settings)


def _language_batch():
    german = text_batch(3, 4, prefix="german")
    german["german__input_ids"] = german["german__input_ids"] + 19
    return {
        **text_batch(4, prefix="english"),
        **german,
        "questions__rows": torch.tensor([0, 3]),
        "questions__labels": torch.tensor([1, 2]),
        "names__rows": torch.tensor([2]),
        "names__labels": torch.tensor([[0, 3, -100]]),
    }


@pytest.mark.parametrize("family", PICTURES)
@pytest.mark.parametrize("shared_from", [1, 2])
def test_own_layers_of_one_input_get_exactly_nothing_from_rows_of_another(family, shared_from, tmp_path):
    model = picture_model(family, shared_from)
    own = own_modules(model.trunk)
    assert own
    model(**picture_batch(rgb=0)).loss.backward()
    grads = gradients(model)
    mine = {name for name in grads if ".of.grey." in name}
    others = {name for name in grads if ".of.rgb." in name} | {
        f"heads.real.linear.{kind}" for kind in ("weight", "bias")
    }
    assert mine
    assert len(others) == len(mine) + 2
    assert all(not grads[name].any() for name in others)
    assert any(grads[name].any() for name in mine)
    assert len(grads) == len(list(model.parameters()))

    model.eval().save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert again.state_dict().keys() == model.state_dict().keys()
    with torch.no_grad():
        one, other = (each(**picture_batch()).logits for each in (model, again))
    assert all(torch.equal(one[task], other[task]) for task in one)


def test_a_step_over_both_inputs_is_the_sum_of_two():
    together = picture_model("vit", 2)
    together(**picture_batch()).loss.backward()
    apart = picture_model("vit", 2)
    both = picture_batch()
    for name, task in (("rgb", "real"), ("grey", "drawn")):
        apart(
            **{key: value for key, value in both.items() if key.startswith((f"{name}__", f"{task}__"))}
        ).loss.backward()
    one, other = gradients(together), gradients(apart)
    assert all(torch.allclose(one[name], other[name], rtol=0, atol=1e-6) for name in one)


def test_every_input_begins_with_the_weights_of_the_backbone():
    model = picture_model("wrapped/resnet18", 2)
    for module in own_modules(model.trunk).values():
        first, second = module.of["rgb"].state_dict(), module.of["grey"].state_dict()
        for name in first:
            expected = first[name].sum(1, keepdim=True) if first[name].shape != second[name].shape else first[name]
            assert torch.equal(second[name], expected)
            assert first[name].data_ptr() != second[name].data_ptr()


@pytest.mark.parametrize("family", ["wrapped/resnet18", "vit"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_grey_picture_gives_the_same_features_with_any_number_of_channels(family, channels):
    network, _ = tiny.classifiers()[family]()
    tasks = {name: {"type": "regression", "input": name} for name in ("usual", "other")}
    model = MultiTaskModel.from_backbone(
        network, tasks, inputs={"usual": {}, "other": {"channels": channels}}, shared_from=1
    )
    grey = torch.randn(2, 1, 32, 32)
    pooled = []
    for name, count in (("usual", 3), ("other", channels)):
        features = model.eval()._read(name, {"pixel_values": grey.expand(-1, count, -1, -1)})
        pooled.append(features.of["pooled"])
    if channels != 2:  # two of three channels, scaled, are the sum of three only where these are alike
        assert torch.allclose(*pooled, rtol=1e-4, atol=1e-5)
    assert pooled[0].shape == pooled[1].shape


def test_another_vocabulary_has_its_own_embeddings():
    model = _two_languages(shared_from=1)
    module = own_modules(model.trunk)["bert.embeddings"]
    assert module.of["english"].word_embeddings.weight.shape == (40, 8)
    assert module.of["german"].word_embeddings.weight.shape == (60, 8)
    assert not module.of["german"].word_embeddings.weight[0].any()
    assert torch.equal(module.of["english"].position_embeddings.weight, module.of["german"].position_embeddings.weight)
    assert module.of["german"].word_embeddings.weight.std() < 0.1
    model(**_language_batch()).loss.backward()
    assert set(gradients(model)) == {name for name, _ in model.named_parameters()}
    read = gradients(model)["trunk.bert.embeddings.of.german.word_embeddings.weight"].any(dim=1)
    # One German row is labelled, and two of its tokens are no padding.
    assert read.nonzero().flatten().tolist() == _language_batch()["german__input_ids"][2, :2].tolist()


def test_one_set_of_layers_for_all_inputs_is_the_fully_shared_network():
    inputs = {"a": {}, "b": {}}
    model = text_model({name: {"type": "regression", "input": name} for name in inputs}, inputs=inputs)
    assert own_modules(model.trunk) == {}
    plain = text_model({"a": {"type": "regression"}})
    assert torch.equal(
        model.eval()(**text_batch(prefix="b"), task="b").logits,
        model.heads["b"](
            plain.eval()
            ._read("default", {k.removeprefix("default__"): v for k, v in text_batch().items()})
            .of["pooled"]
        ),
    )


def test_statistics_of_own_batch_norms_are_those_of_their_input():
    model = picture_model("wrapped/resnet18", 1)
    norm = own_modules(model.trunk)["timm_model.bn1"]
    model(**picture_batch(grey=0))
    assert int(norm.of["rgb"].num_batches_tracked) == 1
    assert int(norm.of["grey"].num_batches_tracked) == 0


def test_bad_input_is_a_sentence():
    with pytest.raises(DataError, match="input 'grey' have 3 channels, but its first layer reads 1"):
        picture_model()(grey__pixel_values=torch.zeros(1, 3, 32, 32), task="drawn")
    with pytest.raises(SettingsError, match=r"shared_from=9, but BertForSequenceClassification has 4 layer groups"):
        _two_languages(shared_from=9)
    with pytest.raises(SettingsError, match="begin with no convolution over channels"):
        text_model({"a": {"type": "regression"}}, inputs={"default": {"channels": 1}}, shared_from=1)
    network, _ = tiny.timm_wrapped("resnet18")
    with pytest.raises(SettingsError, match="hold no embedding of tokens"):
        MultiTaskModel.from_backbone(
            network, {"a": {"type": "regression"}}, inputs={"default": {"vocab_size": 9}}, shared_from=1
        )
    network, _ = tiny.TRANSFORMERS["t5"]()
    inputs = {"a": {}, "b": {}}
    with pytest.raises(ModelError, match=r"uses one weight as 'transformer\.shared\.weight' and as"):
        MultiTaskModel.from_backbone(
            network, {n: {"type": "regression", "input": n} for n in inputs}, inputs=inputs, shared_from=1
        )


def test_every_input_has_its_own_batch_norms_where_layers_are_shared():
    model = picture_model(shared_from=1)
    places = [place for place, module in own_modules(model.trunk).items() if isinstance(module.of["rgb"], BatchNorm2d)]
    total = [name for name, module in tiny.classifiers()["wrapped/resnet18"]()[0].named_modules()
             if isinstance(module, BatchNorm2d)]  # fmt: skip
    assert len(places) >= len(total) - 1  # the first stands in the input's own group
    model(**picture_batch(grey=0)).loss.backward()
    for place in places:
        seen, unseen = (own_modules(model.trunk)[place].of[name] for name in ("rgb", "grey"))
        assert seen.num_batches_tracked == 1
        assert unseen.num_batches_tracked == 0
        assert not unseen.weight.grad.any()
    joint = picture_model(shared_from=1, batch_norm="joint")
    assert len(own_modules(joint.trunk)) < len(own_modules(model.trunk))
    with pytest.raises(SettingsError, match="batch_norm='apart' is unknown; choose 'per_input' or 'joint'"):
        picture_model(batch_norm="apart")


def test_batch_norms_alone_may_be_separate():
    tasks = {name: {"type": "regression", "input": name} for name in ("rgb", "grey")}
    network, _ = tiny.classifiers()["wrapped/resnet18"]()
    model = MultiTaskModel.from_backbone(network, tasks, inputs={"rgb": {}, "grey": {}})
    assert all(isinstance(module.of["rgb"], BatchNorm2d) for module in own_modules(model.trunk).values())
    assert own_modules(model.trunk)


def test_a_single_row_of_an_input_is_normalised_by_running_statistics():
    model = picture_model()
    batch = picture_batch(rgb=4, grey=1)
    loss = model(**batch).loss
    assert loss.isfinite()
    norms = [module for module in own_modules(model.trunk).values() if isinstance(module.of["grey"], BatchNorm2d)]
    assert all(module.of["grey"].num_batches_tracked == 0 for module in norms)
    assert all(module.of["rgb"].num_batches_tracked == 1 for module in norms)
    assert all(module.of["grey"].training for module in norms)
