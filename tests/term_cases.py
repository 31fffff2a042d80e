"""Models and rows for tests of loss terms: no dropout, so that a forward can be written out and compared."""

import tiny
import torch
import transformers as tf
from torch import nn
from transformers import Trainer

from hf_transfer_kit.backbones.heads import last_layer

FAMILIES = {
    "cnn": lambda: (tiny.timm_wrapped("resnet18", 3)[0], tiny.images(32, 6)),
    "vit": lambda: (tiny.TRANSFORMERS["vit"]()[0], tiny.images(32, 6)),
    "bert": lambda: (tiny.TRANSFORMERS["bert"]()[0], _tokens()),
    "wav2vec2": lambda: (tiny.TRANSFORMERS["wav2vec2"]()[0], tiny.waves(6)),
}


def case(family, *, seed=0, double=False):
    """A model without dropout or masking, and six rows with labels."""
    torch.manual_seed(seed)
    model, inputs = FAMILIES[family]()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for name in ("hidden_dropout", "attention_dropout", "layerdrop", "mask_time_prob", "attention_probs_dropout_prob"):
        for module in model.modules():
            if hasattr(getattr(module, "config", None), name):
                setattr(module.config, name, 0.0)
            for attribute in ("dropout", "dropout_prob", "dropout_p"):
                if isinstance(vars(module).get(attribute), float):
                    setattr(module, attribute, 0.0)
    if double:
        model = model.double()
        inputs = {n: v.double() if v.is_floating_point() else v for n, v in inputs.items()}
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    rows = [{**{n: v[i] for n, v in inputs.items()}, "labels": labels[i]} for i in range(6)]
    return model, rows


def batch_of(rows):
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def perturbed(model, amount=0.1, seed=1):
    """Moves every weight a little, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
    return model


def last_input(model, batch):
    """What enters the layer of the logits in one forward without loss."""
    caught = []
    _, layer = last_layer(model)
    handle = layer.register_forward_pre_hook(lambda module, args: caught.append(args[0]))
    model(**{name: value for name, value in batch.items() if name != "labels"})
    handle.remove()
    return caught[0]


def num_hooks(model):
    """Hooks of the kit on the model; transformers leaves some of its own."""
    hooks = [hook for m in model.modules() for hook in [*m._forward_hooks.values(), *m._forward_pre_hooks.values()]]
    return sum(hook.__module__.startswith("hf_transfer_kit") for hook in hooks)


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_state(first, second):
    assert list(first) == list(second)
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, different


def assert_close_state(first, second, tolerance):
    assert list(first) == list(second)
    worst = max((first[name] - second[name]).abs().max().item() for name in first if first[name].numel())
    assert worst < tolerance, worst


class InOrder(Trainer):
    """The stock Trainer, rows in order."""

    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class Counting(nn.Module):
    """A small classifier whose forward may or may not take ``num_items_in_batch``; labels may be -100."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.head = nn.Linear(5, 3)

    def logits(self, x):
        return self.head(torch.tanh(self.body(x)))

    def forward(self, x, labels=None):
        logits = self.logits(x)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class CountingItems(Counting):
    """The same, with the loss of transformers' models."""

    def forward(self, x, labels=None, **kwargs):
        logits = self.logits(x)
        loss = None
        if labels is not None:
            loss = tf.loss.loss_utils.fixed_cross_entropy(logits, labels, **kwargs)
        return {"loss": loss, "logits": logits}


def _tokens():
    tokens = {"input_ids": torch.arange(3, 39).reshape(6, 6), "attention_mask": torch.ones(6, 6, dtype=torch.long)}
    tokens["attention_mask"][1, 4:] = 0
    tokens["input_ids"][1, 4:] = 0
    return tokens
