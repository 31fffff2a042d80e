"""LoRA+: only the second factor of each change has another rate, and weight decay is Trainer's."""

import pytest
import tiny
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

from hf_transfer_kit import lora_plus_optimizer
from hf_transfer_kit.backbones import adaptable_layers
from hf_transfer_kit.errors import SettingsError

KINDS = ("mobilenetv2_100", "convnext_atto", "swin_tiny_patch4_window7_224")
FAMILIES = {**tiny.TRANSFORMERS, **{f"timm/{name}": (lambda name=name: tiny.timm_wrapped(name)) for name in KINDS}}


@pytest.mark.parametrize("kind", sorted(set(FAMILIES) - {"gpt2"}))  # its layers are of a kind that has no adapter here
def test_the_second_factor_learns_faster_and_all_else_as_ever(kind, tmp_path):
    model = get_peft_model(FAMILIES[kind]()[0], LoraConfig(r=2, target_modules=adaptable_layers(FAMILIES[kind]()[0])))
    args = TrainingArguments(str(tmp_path), learning_rate=0.5, weight_decay=0.1, use_cpu=True, report_to=[])
    plain = Trainer(model, args).create_optimizer()
    found = Trainer(model, args, optimizer_cls_and_kwargs=lora_plus_optimizer(model, args, ratio=4)).create_optimizer()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = [
        {
            names[id(p)]: (group["lr"], group["weight_decay"])
            for group in optimizer.param_groups
            for p in group["params"]
        }
        for optimizer in (plain, found)
    ]
    assert settings[0].keys() == settings[1].keys()
    for name, (rate, decay) in settings[0].items():
        assert settings[1][name] == (4 * rate if "lora_B" in name else rate, decay)
    assert any("lora_B" in name for name in settings[1])


def test_without_adapters_or_below_one_it_is_a_sentence(tmp_path):
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    model = tiny.TRANSFORMERS["bert"]()[0]
    with pytest.raises(SettingsError, match="has no LoRA adapter"):
        lora_plus_optimizer(model, args)
    with pytest.raises(SettingsError, match=r"ratio=0\.5 is out of range"):
        lora_plus_optimizer(model, args, ratio=0.5)
