"""Networks of every kind of loss in double precision, without noise, and one training of them in order."""

import term_cases
import tiny
import torch
import transformers as tf
from torch import nn
from transformers import Trainer, TrainingArguments

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

# Of rows with different numbers of labels.
TOKENS = {"bert_tokens": lambda: (tf.BertForTokenClassification(tiny._bert("Bert")), term_cases._tokens())}


def _one_row_each():
    features = tiny.GENERATORS["whisper_lm"]()[1]["input_features"]
    return features[:1].repeat(6, 1, 1) + torch.arange(6).view(6, 1, 1) / 10


def case(name):
    torch.manual_seed(0)
    model, inputs = {**FAMILIES, **TOKENS}[name]()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0
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
    if name in TOKENS:
        labels = torch.where(inputs["attention_mask"] > 0, inputs["input_ids"] % 3, -100)
        labels[3, 2:] = -100
    return model.double(), [
        {**{n: v[i].double() if v.is_floating_point() else v[i] for n, v in inputs.items()}, "labels": labels[i]}
        for i in range(6)
    ]


class _Shuffled(Trainer):
    """BatchNorm by its running statistics, for the statistics of pieces are others than those of a batch."""

    def training_step(self, model, *args, **kwargs):
        model.train()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.forward = lambda x, m=module: nn.functional.batch_norm(
                    x, m.running_mean, m.running_var, m.weight, m.bias, False, 0.0, m.eps
                )
        return super().training_step(model, *args, **kwargs)


class _Still(_Shuffled, term_cases.InOrder):
    """The same, rows in order."""


def trained(name, folder, *, size, pieces, callbacks, steps=2, shuffled=False, **others):
    model, rows = case(name)
    args = TrainingArguments(
        folder, max_steps=steps, per_device_train_batch_size=size, gradient_accumulation_steps=pieces, learning_rate=0.1,
        optim="sgd", report_to=[], disable_tqdm=True, use_cpu=True, logging_steps=1, save_strategy="no",
        max_grad_norm=1e9, lr_scheduler_type="constant", **others,
    )  # fmt: skip
    trainer = (_Shuffled if shuffled else _Still)(model, args, train_dataset=rows, callbacks=callbacks)
    trainer.train()
    return model, [entry for entry in trainer.state.log_history if "grad_norm" in entry]
