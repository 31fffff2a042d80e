"""Modules as people write them themselves: no library's class, each with inputs."""

from __future__ import annotations

import timm
import torch
from torch import nn
from transformers import BertConfig, BertModel


class HeadFirst(nn.Module):
    """The head is defined before what it reads."""

    def __init__(self):
        super().__init__()
        self.head, self.body, self.stem = nn.Linear(8, 5), nn.Linear(8, 8), nn.Linear(6, 8)

    def forward(self, x):
        return self.head(self.body(self.stem(x).relu()).relu())


class Reversed(nn.Module):
    """A list of layers, used from the last to the first."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        for layer in reversed(self.layers):
            x = layer(x).relu()
        return self.head(x)


class LossDict(nn.Module):
    """A timm network inside a wrapper that gives a dict."""

    def __init__(self):
        super().__init__()
        self.net = timm.create_model("resnet18", num_classes=5)

    def forward(self, pixel_values, labels=None):
        logits = self.net(pixel_values)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class Backbone(nn.Module):
    """A headless timm network and a Linear."""

    def __init__(self):
        super().__init__()
        self.backbone = timm.create_model("resnet18", num_classes=0)
        self.head = nn.Linear(512, 5)

    def forward(self, pixel_values):
        return self.head(self.backbone(pixel_values))


class Deep(nn.Module):
    """Two levels deep."""

    def __init__(self):
        super().__init__()
        self.outer = nn.ModuleDict({"inner": Backbone()})

    def forward(self, pixel_values):
        return self.outer["inner"](pixel_values)


class TwoBranches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(torch.cat([self.left(x), self.right(x)], dim=-1).relu())


class Unused(nn.Module):
    """A pooler that no forward calls."""

    def __init__(self):
        super().__init__()
        self.body, self.pooler, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.body(x).relu())


class Tied(nn.Module):
    """The output layer is the embedding."""

    def __init__(self):
        super().__init__()
        self.embedding, self.body, self.out = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, input_ids):
        return self.out(self.body(self.embedding(input_ids)).relu())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class BertLinear(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        self.bert, self.fc = BertModel(BertConfig(vocab_size=40, **sizes)), nn.Linear(8, 5)

    def forward(self, input_ids, attention_mask=None):
        return self.fc(self.bert(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0])


def _cnn() -> nn.Module:
    body = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(8, 5))


def _rows(size: int = 8, name: str = "x") -> dict:
    return {name: torch.randn(4, size)}


def _images() -> dict:
    return {"pixel_values": torch.randn(4, 3, 64, 64)}


def _tokens() -> dict:
    return {"input_ids": torch.arange(20).reshape(4, 5) % 20}


OWN = {
    "backbone_linear": lambda: (Backbone(), _images()),
    "bert_linear": lambda: (BertLinear(), _tokens()),
    "cnn": lambda: (_cnn(), _images()),
    "head_first": lambda: (HeadFirst(), _rows(6)),
    "loss_dict": lambda: (LossDict(), _images()),
    "lstm": lambda: (Recurrent(), {"x": torch.randn(4, 5, 8)}),
    "mlp": lambda: (nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5)), _rows()),
    "reversed": lambda: (Reversed(), _rows()),
    "tied": lambda: (Tied(), _tokens()),
    "two_branches": lambda: (TwoBranches(), _rows()),
    "two_levels": lambda: (Deep(), _images()),
    "unused": lambda: (Unused(), _rows()),
}
