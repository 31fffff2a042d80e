"""What is known of a network holds where it lies inside a module that somebody wrote, and freezing is bit-identical."""

import copy

import pytest
import tiny
import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainingArguments

from hf_transfer_kit import FreezeLayers, layer_groups
from hf_transfer_kit.backbones import find_head
from hf_transfer_kit.backbones.unwrapping import timm_model

NETWORKS = [
    *(f"timm/{name}" for name in ("resnet18", "mobilenetv2_100", "efficientnet_b0", "convnext_atto")),
    *("timm/vit_tiny_patch16_224", "wrapped/resnet18", "bert", "distilbert", "vit", "resnet"),
]


class ReturnsLoss(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, pixel_values=None, input_ids=None, labels=None):
        value = pixel_values if pixel_values is not None else input_ids
        logits = self.net(value)
        logits = getattr(logits, "logits", logits)
        logits = logits["logits"] if isinstance(logits, dict) else logits
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"logits": logits} if loss is None else {"loss": loss, "logits": logits}


class Linked(nn.Module):
    """A body and a linear layer of one's own."""

    def __init__(self, body, width):
        super().__init__()
        self.fc, self.body = nn.Linear(width, 5), body

    def forward(self, value):
        features = self.body(value)
        features = getattr(features, "last_hidden_state", features)
        if features.dim() > 2:
            features = features.flatten(2).mean(2) if features.dim() == 4 else features.mean(1)
        return self.fc(features)


def _body(network, inputs):
    """The network without its head, and its width."""
    if (timm := timm_model(network)) is not None:
        timm[0].reset_classifier(0)
        body = timm[0]
    else:
        body = network.base_model
    value = next(iter(inputs.values()))
    with torch.no_grad():
        features = body.eval()(value)
    features = getattr(features, "last_hidden_state", features)
    return body, features.shape[1] if features.dim() != 3 else features.shape[-1]


def _forms(name):
    network, inputs = tiny.classifiers()[name]()
    if not isinstance(inputs, dict):
        inputs = {"pixel_values": inputs}
    inputs = {key: inputs[key] for key in inputs if key in ("pixel_values", "input_ids")}
    body, width = _body(copy.deepcopy(network), inputs)
    return inputs, {
        "loss": (ReturnsLoss(network), network, "net."),
        "linear": (ReturnsLoss(Linked(body, width)), body, "net.body."),
        "deep": (ReturnsLoss(nn.Sequential(nn.Identity(), ReturnsOnly(network))), network, "net.1.net."),
    }


class ReturnsOnly(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, value):
        output = self.net(value)
        return getattr(output, "logits", output)


@pytest.mark.parametrize("form", ["loss", "linear", "deep"])
@pytest.mark.parametrize("name", NETWORKS)
def test_groups_inside_are_the_bare_networks_and_freezing_is_bit_identical(name, form, tmp_path):
    inputs, forms = _forms(name)
    model, bare, prefix = forms[form]
    wanted = [sorted(f"{prefix}{n}" for n in group.parameters) for group in layer_groups(bare)]
    found = [sorted(group.parameters) for group in layer_groups(model)]
    unused = isinstance(bare, PreTrainedModel) and form == "linear"  # a pooler that nothing reads may lie elsewhere
    if unused:
        pooler = {n for group in found for n in group if ".pooler." in n}
        wanted, found = ([[n for n in g if n not in pooler] for g in groups] for groups in (wanted, found))
        wanted = [group for group in wanted if group]
    assert found[: len(wanted)] == wanted
    assert all(n.startswith(prefix.replace("body.", "")) for n in find_head(model))

    rows = [{key: value[0] for key, value in inputs.items()} | {"labels": i % 3} for i in range(4)]
    args = TrainingArguments(
        tmp_path, max_steps=2, per_device_train_batch_size=2, learning_rate=0.1, report_to=[], disable_tqdm=True,
        use_cpu=True, weight_decay=0.1, save_strategy="no",
    )  # fmt: skip
    before = {n: t.clone() for n, t in model.state_dict().items()}
    Trainer(model, args, train_dataset=rows, callbacks=[FreezeLayers(first=2, quiet=True)]).train()
    after = model.state_dict()
    frozen = {n for group in layer_groups(model)[:2] for n in group.parameters}
    assert all(torch.equal(after[n], before[n]) for n in frozen)
    moved = [n for n, _ in model.named_parameters() if n not in frozen and not torch.equal(after[n], before[n])]
    assert moved
