"""A batch in one piece, in accumulated pieces, or on several ranks: one loss, one gradient, one set of weights."""

import pytest
import term_cases
import tiny
import torch
from torch import nn
from transformers import TrainingArguments

from hf_transfer_kit import L2SP
from hf_transfer_kit.tuning.loss_scale import FairLossScale, heeds_item_count

FAMILIES = {
    "resnet": lambda: (tiny.TRANSFORMERS["resnet"]()[0], tiny.images(32, 6)),
    "vit": lambda: (tiny.TRANSFORMERS["vit"]()[0], tiny.images(32, 6)),
    "bert": lambda: (tiny.TRANSFORMERS["bert"]()[0], term_cases._tokens()),
    "llama": lambda: (tiny.TRANSFORMERS["llama"]()[0], term_cases._tokens()),
    "llama_lm": lambda: (tiny.GENERATORS["llama_lm"]()[0], term_cases._tokens()),
    "t5_lm": lambda: (tiny.GENERATORS["t5_lm"]()[0], term_cases._tokens()),
    "wav2vec2": lambda: (tiny.TRANSFORMERS["wav2vec2"]()[0], tiny.waves(6)),
    "whisper_lm": lambda: (tiny.GENERATORS["whisper_lm"]()[0], {"input_features": _one_row_each()}),
    "timm": lambda: (tiny.timm_wrapped("resnet18", 3)[0], tiny.images(32, 6)),
}


def _one_row_each():
    features = tiny.GENERATORS["whisper_lm"]()[1]["input_features"]
    return features[:1].repeat(6, 1, 1) + torch.arange(6).view(6, 1, 1) / 10


def _case(name):
    torch.manual_seed(0)
    model, inputs = FAMILIES[name]()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum, module.eval_only = 0.0, True
        config = getattr(module, "config", None)
        for key in list(vars(config)) if config is not None else ():
            if ("dropout" in key or key in ("layerdrop", "mask_time_prob")) and isinstance(getattr(config, key), float):
                setattr(config, key, 0.0)
        for key in ("dropout", "attention_dropout", "activation_dropout", "dropout_rate"):
            if isinstance(vars(module).get(key), float):
                setattr(module, key, 0.0)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    if name.endswith("_lm"):
        labels = torch.arange(3, 39).reshape(6, 6) % 20 + 3
    return model.double(), [
        {**{n: v[i].double() if v.is_floating_point() else v[i] for n, v in inputs.items()}, "labels": labels[i]}
        for i in range(6)
    ]


class _Still(term_cases.InOrder):
    """BatchNorm by its running statistics, for the statistics of pieces are others than those of a batch."""

    def training_step(self, model, *args, **kwargs):
        model.train()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.forward = lambda x, m=module: nn.functional.batch_norm(
                    x, m.running_mean, m.running_var, m.weight, m.bias, False, 0.0, m.eps
                )
        return super().training_step(model, *args, **kwargs)


def _trained(name, folder, *, size, pieces, callbacks):
    model, rows = _case(name)
    args = TrainingArguments(
        folder, max_steps=2, per_device_train_batch_size=size, gradient_accumulation_steps=pieces, learning_rate=0.1,
        optim="sgd", report_to=[], disable_tqdm=True, use_cpu=True, logging_steps=1, save_strategy="no",
        max_grad_norm=1e9, lr_scheduler_type="constant",
    )  # fmt: skip
    trainer = _Still(model, args, train_dataset=rows, callbacks=callbacks)
    trainer.train()
    return model, [entry for entry in trainer.state.log_history if "grad_norm" in entry]


@pytest.mark.parametrize("part", [FairLossScale, L2SP])
@pytest.mark.parametrize("name", FAMILIES)
def test_accumulated_pieces_are_one_batch(name, part, tmp_path):
    whole, logs = _trained(name, tmp_path, size=6, pieces=1, callbacks=[part()])
    split, split_logs = _trained(name, tmp_path, size=2, pieces=3, callbacks=[part()])
    for key in ("loss", "grad_norm"):
        assert [e[key] for e in split_logs] == pytest.approx([e[key] for e in logs], rel=1e-5)
    term_cases.assert_close_state(split.state_dict(), whole.state_dict(), 1e-8)


def test_who_heeds_the_count_and_who_does_not():
    heeding, ignoring = (_case(name) for name in ("llama_lm", "bert"))
    assert heeds_item_count(heeding[0], term_cases.batch_of(heeding[1]))
    assert not heeds_item_count(ignoring[0], term_cases.batch_of(ignoring[1]))
