"""Merging is its formula on every network, leaves its sources alone, and refuses by name what does not fit."""

import copy

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from transformers import default_data_collator

from hf_transfer_kit import layer_groups, merge_models, replace_head
from hf_transfer_kit.backbones import adaptable_layers, merged
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.tuning.averaging.merging import METHODS

KINDS = ("mobilenetv2_100", "convnext_atto", "swin_tiny_patch4_window7_224")
FAMILIES = {**tiny.TRANSFORMERS, **{f"timm/{name}": (lambda name=name: tiny.timm_wrapped(name)) for name in KINDS}}


def moved(model, seed):
    """A copy whose every float has changed a little; a variance stays one."""
    copied = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*copied.parameters(), *(b for b in copied.buffers() if b.is_floating_point())]:
            tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator).to(tensor) * (tensor.abs() + 0.1))
    return copied


def floats(model):
    return {n: t for n, t in model.state_dict().items() if t.is_floating_point()}


def expected(method, origin, thetas, weights, density):
    """The formula, slowly; dare's draws are another test's."""
    if method == "soup":
        return sum(w * theta for w, theta in zip(weights, thetas, strict=True))
    changes = [theta - origin for theta in thetas]
    if method == "task_arithmetic":
        return origin + sum(w * change for w, change in zip(weights, changes, strict=True))
    kept = []
    for change in changes:
        flat = change.flatten()
        largest = flat.abs().argsort(descending=True)[: int(density * flat.numel())]
        mask = torch.zeros_like(flat)
        mask[largest] = 1
        kept.append((flat * mask).view_as(change))
    total = sum(kept)
    sign = torch.where(total >= 0, 1.0, -1.0)
    agree = [(change.sign() == sign).float() for change in kept]
    merged = sum(w * change * a for w, change, a in zip(weights, kept, agree, strict=True))
    return origin + merged / sum(agree).clamp(min=1)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_mean_of_every_architecture_is_one(kind):
    torch.manual_seed(0)
    model, inputs = FAMILIES[kind]()
    networks = [moved(model, seed) for seed in (1, 2, 3)]
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    found = merge_models(networks, method="soup", weights=[0.5, 0.25, 0.25])
    for name, value in floats(found.model).items():
        factors = [1 / 3] * 3 if name in dict(model.named_buffers()) else [0.5, 0.25, 0.25]
        thetas = [network.state_dict()[name] for network in networks]
        torch.testing.assert_close(value, expected("soup", None, thetas, factors, None))
    for network, old in zip(networks, before, strict=True):
        assert all(torch.equal(old[name], value) for name, value in network.state_dict().items())
    assert torch.isfinite(found.model(**inputs)["logits"]).all()


@pytest.mark.parametrize("kind", ["bert", "vit", "resnet"])
@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_changes_of_the_base_are_added_by_the_formula(method, kind):
    torch.manual_seed(0)
    base = FAMILIES[kind]()[0]
    networks = [moved(base, seed) for seed in (1, 2)]
    density = {"density": 0.4} if method == "ties" else {}
    found = merge_models(networks, base, method=method, weights=[0.7, 0.6], **density)
    for name, parameter in found.model.named_parameters():
        thetas = [network.get_parameter(name) for network in networks]
        torch.testing.assert_close(
            parameter.data, expected(method, base.get_parameter(name), thetas, [0.7, 0.6], 0.4).data
        )
    assert found.weights == {"all": (0.7, 0.6)}


def test_dare_keeps_a_share_scales_it_and_is_seeded():
    torch.manual_seed(0)
    base = FAMILIES["bert"]()[0]
    networks = [moved(base, 1), moved(base, 2)]
    state = torch.get_rng_state()
    one, again, other = (
        merge_models(networks, base, method="dare", weights=[1.0, 0.0], density=0.25, seed=seed).model
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    kept = total = 0
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
        change = networks[0].get_parameter(name) - base.get_parameter(name)
        found = parameter - base.get_parameter(name)
        drawn = found.abs() > 1e-9
        torch.testing.assert_close(found[drawn], 4 * change[drawn], rtol=1e-3, atol=1e-5)
        kept, total = kept + int(drawn.sum()), total + drawn.numel()
    assert kept / total == pytest.approx(0.25, abs=0.03)
    assert not all(torch.equal(p, other.get_parameter(n)) for n, p in one.named_parameters())


def test_parts_have_factors_of_their_own():
    torch.manual_seed(0)
    base = FAMILIES["bert"]()[0]
    networks = [moved(base, seed) for seed in (1, 2)]
    found = merge_models(networks, base, method="task_arithmetic", weights={"head": [1, 0], 0: [0.0, 0.0]})
    groups = layer_groups(base)
    for depth, group in enumerate(groups):
        factors = {0: [0.0, 0.0], len(groups) - 1: [1, 0]}.get(depth, [0.5, 0.5])
        for name, start in group.parameters.items():
            thetas = [network.get_parameter(name) for network in networks]
            wanted = expected("task_arithmetic", start, thetas, factors, None)
            torch.testing.assert_close(found.model.get_parameter(name).data, wanted.data)


def test_a_head_that_the_base_does_not_have_is_averaged_and_said(tmp_path):
    torch.manual_seed(0)
    base = FAMILIES["bert"]()[0]
    tuned = replace_head(copy.deepcopy(base), id2label={i: str(i) for i in range(7)}, seed=0)
    networks = [moved(tuned, seed) for seed in (1, 2)]
    found = merge_models(networks, base, method="ties")
    for name in layer_groups(tuned).head.parameters:
        mean = sum(network.get_parameter(name) for network in networks) / 2
        torch.testing.assert_close(found.model.get_parameter(name).data, mean.data)
    assert any("The head is the mean" in note for note in found.notes)
    for number, network in enumerate([base, *networks]):
        network.save_pretrained(tmp_path / str(number))
    again = merge_models([tmp_path / "1", tmp_path / "2"], tmp_path / "0", method="ties")
    assert (again.names, again.base) == ((str(tmp_path / "1"), str(tmp_path / "2")), str(tmp_path / "0"))
    for name, value in again.model.state_dict().items():
        torch.testing.assert_close(value, found.model.state_dict()[name])


def test_statistics_are_gathered_on_rows_or_their_mean_is_said():
    torch.manual_seed(0)
    base = FAMILIES["resnet"]()[0]
    networks = [moved(base, seed) for seed in (1, 2)]
    assert any("were not gathered anew" in note for note in merge_models(networks).notes)
    rows = [{"pixel_values": torch.randn(3, 32, 32) + i % 3, "labels": i % 3} for i in range(8)]
    found = merge_models(networks, rows=rows, collator=default_data_collator)
    assert found.notes == ("BatchNorm's statistics were gathered anew on 8 training rows.",)
    first, inputs = batch_norms(found.model)[0], []
    first.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    with torch.no_grad():
        found.model.eval()(pixel_values=torch.stack([row["pixel_values"] for row in rows]))
    torch.testing.assert_close(first.running_mean, inputs[0].mean((0, 2, 3)))
    frozen = [copy.deepcopy(base), copy.deepcopy(base)]
    assert merge_models(frozen, rows=rows, collator=default_data_collator).notes == ()


def test_half_precision_is_summed_in_float32():
    torch.manual_seed(0)
    networks = [moved(FAMILIES["bert"]()[0], seed).bfloat16() for seed in (1, 2, 3)]
    for name, value in merge_models(networks).model.named_parameters():
        mean = torch.stack([network.get_parameter(name).float() for network in networks]).mean(0)
        torch.testing.assert_close(value.float(), mean, rtol=2**-8, atol=0)  # rounded once


def reordered(model):
    model.config.id2label = dict(enumerate(reversed(list(model.config.id2label.values()))))
    return model


OTHERS = {
    "another architecture": (lambda model: FAMILIES["vit"]()[0], "only one of them has"),
    "more classes": (lambda model: replace_head(model, 9, seed=0), r"is \(3.* in one and \(9"),
    "classes in another order": (reordered, "their classes are"),
    "an adapter": (lambda model: get_peft_model(model, LoraConfig(target_modules=["query"])), "adapters that are not"),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_merged_is_named(other, method):
    torch.manual_seed(0)
    base = FAMILIES["bert"]()[0]
    make, sentence = OTHERS[other]
    with pytest.raises(ModelError, match=f"network 0 and network 1 cannot be merged: .*{sentence}"):
        merge_models([base, make(copy.deepcopy(base))], None if method == "soup" else base, method=method)


def test_a_merged_adapter_is_a_network_like_others():
    torch.manual_seed(0)
    base = FAMILIES["bert"]()[0]
    adapted = get_peft_model(copy.deepcopy(base), LoraConfig(target_modules=adaptable_layers(base)))
    assert merge_models([base, merged(adapted)]).model.state_dict().keys() == base.state_dict().keys()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "ties"}, "give it as base"), ({"method": "mean"}, "method"), ({"density": 0.5}, "density is for ties"),
        ({"method": "ties", "base": True, "density": 1}, "density=1"), ({"base": True}, "which has no base"),
        ({"weights": [1, 1]}, "must sum to 1"), ({"weights": [1]}, "one finite number for each of 2"),
        ({"weights": {"neck": [0.5, 0.5]}}, "matches no parameter"), ({"rows": []}, "go together"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_sentences(options, sentence):
    base = FAMILIES["bert"]()[0]
    options = {**options, **({"base": base} if options.get("base") else {})}
    with pytest.raises(SettingsError, match=sentence):
        merge_models([base, base], **options)


def test_one_network_or_a_base_of_another_kind_is_a_sentence():
    with pytest.raises(SettingsError, match="give two or more"):
        merge_models([FAMILIES["bert"]()[0]])
    torch.manual_seed(0)
    base = FAMILIES["bert"]()[0]
    with pytest.raises(ModelError, match=r"The base has no .* of shape"):
        merge_models([base, base], FAMILIES["vit"]()[0], method="ties")
