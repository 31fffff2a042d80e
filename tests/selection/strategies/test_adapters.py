"""Every adapter on every architecture: it learns, its merged copy gives the same, or it is refused beforehand."""

import copy
import warnings

import pytest
import tiny
import torch
from peft import PeftModel
from transformers import Trainer, TrainingArguments
from transformers.pytorch_utils import Conv1D

from hf_transfer_kit import load_model
from hf_transfer_kit.backbones import is_adapted, layer_groups, merged
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.selection import make_strategy
from hf_transfer_kit.selection.strategies.adapters import _METHODS

KINDS = ("mobilenetv2_100", "convnext_atto", "swin_tiny_patch4_window7_224")
FAMILIES = {**tiny.TRANSFORMERS, **{f"timm/{name}": (lambda name=name: tiny.timm_wrapped(name)) for name in KINDS}}


def logits_of(model, inputs):
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.eval()(**inputs)["logits"]


def body_of(model):
    """Every module before the head."""
    return [
        inner for group in layer_groups(model).body for module in group.modules.values() for inner in module.modules()
    ]


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("method", _METHODS)
def test_an_adapter_learns_and_merges_or_is_refused_with_the_reason(method, kind):
    torch.manual_seed(0)
    model, inputs = FAMILIES[kind]()
    strategy = make_strategy(f"peft:method={method},r=2")
    names, before = set(model.state_dict()), logits_of(model, inputs)
    linear = any(isinstance(module, torch.nn.Linear | Conv1D) for module in body_of(model))
    if (kind == "gpt2" and method in ("loha", "lokr")) or (method == "vera" and not linear):
        with pytest.raises((SettingsError, ModelError), match=f"peft:method={method} cannot|low-rank adapter"):
            strategy.check_model(model)
        return
    strategy.check_model(model)
    assert not is_adapted(model)
    adapted = strategy.prepare_model(model, seed=0)
    learning = {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert logits_of(adapted, inputs) == pytest.approx(before, abs=1e-4)  # every method begins as the network
    with torch.random.fork_rng():
        for parameter in learning.values():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    after = logits_of(adapted, inputs)
    assert not torch.allclose(after, before, atol=1e-4)
    plain = merged(adapted)
    assert set(plain.state_dict()) == names
    assert is_adapted(adapted)
    torch.testing.assert_close(logits_of(plain, inputs), after, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["timm/mobilenetv2_100", "bert", "gpt2"])
@pytest.mark.parametrize("method", ["lora:r=2", *(f"peft:method={method},r=2" for method in _METHODS)])
def test_filters_that_died_in_pretraining_make_nothing_nan(method, kind):
    torch.manual_seed(0)
    model, inputs = FAMILIES[kind]()
    linear = [module for module in body_of(model) if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | Conv1D)]
    with torch.no_grad():
        for layer in linear[:2]:
            (layer.weight.T if isinstance(layer, Conv1D) else layer.weight)[0] = 0
    before = logits_of(model, inputs)
    try:
        adapted = make_strategy(method).prepare_model(model, seed=0)
    except SettingsError:
        return  # as above
    assert logits_of(adapted, inputs) == pytest.approx(before, abs=1e-4)
    adapted.train()(**inputs)["logits"].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in adapted.parameters() if p.grad is not None)


def test_dora_where_every_layer_has_a_dead_output_is_refused():
    model, _ = tiny.TRANSFORMERS["bert"]()
    for module in body_of(model):
        if isinstance(module, torch.nn.Linear):
            module.weight.data[0] = 0
    with pytest.raises(ModelError, match="each of its 13 layers has an output whose weights are all zero"):
        make_strategy("peft:method=dora").check_model(model)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("peft:method=lora2", "method"), ("peft:r=0", "r=0"), ("peft:alpha=0", "alpha"), ("peft:groups=99", "groups=99")],
)
def test_options_out_of_range_are_sentences(text, sentence):
    with pytest.raises(SettingsError, match=sentence):
        make_strategy(text).validate(layer_groups(tiny.TRANSFORMERS["resnet"]()[0]))


def test_lora_has_loras_own_rates_and_lora_plus_others(tmp_path):
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    model = make_strategy("lora").prepare_model(tiny.TRANSFORMERS["bert"]()[0], seed=0)
    assert make_strategy("lora").optimizer(model, args) is None
    make, settings = make_strategy("lora:ratio=16").optimizer(model, args)
    rates = {group["lr"] / args.learning_rate for group in make()(model, **settings).param_groups}
    assert rates == {1.0, 16.0}
    with pytest.raises(SettingsError, match=r"ratio=0\.5"):
        make_strategy("lora:ratio=0.5").validate(layer_groups(tiny.TRANSFORMERS["bert"]()[0]))


@pytest.mark.parametrize("adapter", ["lora:r=2", "peft:method=dora,r=2"])
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_checkpoints_of_other_symbols_than_the_base_has_are_written(kind, adapter, tmp_path):
    network, inputs = tiny.TRANSFORMERS[kind]()
    network.save_pretrained(tmp_path / "base")
    spelling = load_model(tmp_path / "base", num_labels=7, task_type="ctc", seed=1)
    assert spelling.config.vocab_size == 7 != network.config.vocab_size
    model = make_strategy(adapter).prepare_model(spelling, seed=0)
    rows = [{"input_values": inputs["input_values"][0], "labels": torch.tensor([1, 2])}] * 4
    args = TrainingArguments(
        tmp_path / "run", max_steps=1, save_steps=1, use_cpu=True, report_to=[], disable_tqdm=True, learning_rate=0.1
    )
    Trainer(copy.deepcopy(model), args, train_dataset=rows).train()
    again = PeftModel.from_pretrained(
        load_model(tmp_path / "base", num_labels=7, task_type="ctc", seed=1), tmp_path / "run" / "checkpoint-1"
    )
    assert not torch.equal(logits_of(again, inputs), logits_of(model, inputs))
