"""Networks whose order no made-up inputs tell: told by example inputs, by the data, or by a line of registration."""

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from hf_transfer_kit import (
    L2SP,
    FreezeLayers,
    GradualUnfreezing,
    cache_prefix,
    layer_groups,
    layerwise_optimizer,
    register_architecture,
    register_head,
    replace_head,
)
from hf_transfer_kit.backbones import find_head, registry
from hf_transfer_kit.errors import ModelError, SettingsError


class Guarded(nn.Module):
    """Refuses what it would not meet in use; its layers are defined last to first."""

    def __init__(self):
        super().__init__()
        self.out, self.second, self.first = nn.Linear(6, 3), nn.Linear(6, 6), nn.Linear(4, 6)

    def forward(self, x, labels=None):
        if float(x.detach().min()) < 5:
            raise ValueError("measurements below 5 are impossible")
        logits = self.out(self.second(self.first(x).relu()).relu())
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return {"loss": loss, "logits": logits} if loss is not None else {"logits": logits}


INPUTS = {"x": torch.full((2, 4), 6.0)}
ROWS = [{"x": torch.rand(4) + 5, "labels": i % 3} for i in range(12)]


@pytest.fixture
def unregistered(monkeypatch):
    monkeypatch.setattr(registry, "_heads", {})
    monkeypatch.setattr(registry, "_architectures", {})


def _trainer(model, tmp_path, **options):
    args = TrainingArguments(tmp_path, max_steps=3, report_to=[], disable_tqdm=True, learning_rate=0.1, use_cpu=True)
    return Trainer(model, args, train_dataset=ROWS, **options)


PARTS = {
    "freeze": lambda: FreezeLayers(first=1, quiet=True, example_inputs=INPUTS),
    "gradual": lambda: GradualUnfreezing(every="1 steps", keep_frozen=1, quiet=True, example_inputs=INPUTS),
    "l2sp": lambda: L2SP(example_inputs=INPUTS),
}


@pytest.mark.parametrize("part", PARTS)
def test_callbacks_take_example_inputs(part, tmp_path):
    model = Guarded()
    with pytest.raises(ModelError, match="example_inputs"):
        layer_groups(model)
    before = {name: value.clone() for name, value in model.named_parameters()}
    _trainer(model, tmp_path, callbacks=[PARTS[part]()]).train()
    still = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    assert still == ({"first.weight", "first.bias"} if part != "l2sp" else set())
    assert [group.name for group in layer_groups(model)] == ["first", "second", "out"]  # remembered


def test_layerwise_rates_take_example_inputs(tmp_path):
    model = Guarded()
    args = TrainingArguments(tmp_path, report_to=[], learning_rate=1.0)
    make, settings = layerwise_optimizer(model, args, decay=0.5, example_inputs=INPUTS)
    rate_of = {id(p): group["lr"] for group in make()(model, **settings).param_groups for p in group["params"]}
    assert [rate_of[id(layer.weight)] for layer in (model.first, model.second, model.out)] == [0.25, 0.5, 1.0]


def test_a_cache_learns_from_its_own_rows(tmp_path):
    model = Guarded().eval()
    whole = model(torch.stack([row["x"] for row in ROWS]))["logits"]
    cached = cache_prefix(model, 1, ROWS, cache_dir=tmp_path, progress=False)
    batch = cached.collator([cached.dataset[i] for i in range(len(ROWS))])
    torch.testing.assert_close(model(**batch)["logits"], whole)


def test_registered_groups_and_heads_hold_without_a_forward(unregistered):
    with pytest.raises(ModelError):
        layer_groups(Guarded())
    register_architecture(Guarded, ["first", "second"])
    register_head(Guarded, "out")
    model = Guarded()
    groups = layer_groups(model)
    assert ([group.name for group in groups], groups.head.name) == (["first", "second", "out"], "out")
    replace_head(model, 5)
    assert model.out.out_features == 5


def test_registered_networks_are_known_inside_others_and_in_subclasses(unregistered):
    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
            self.norm, self.scores = nn.LayerNorm(4), nn.Linear(4, 3)

        def forward(self, x):
            for block in self.blocks:
                x = block(x).relu()
            return self.scores(self.norm(x))

    class Child(Blocks):
        pass

    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Child()

        def forward(self, x):
            return self.inner(x)

    register_architecture(Blocks, ["blocks.*", "norm"])
    names = [group.name for group in layer_groups(Holder())]
    assert names == ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "norm", "inner.scores"]
    register_architecture(Blocks, ["blocks.0|blocks.1", "blocks.2 | blocks.3", "norm"])
    assert len(layer_groups(Holder())) == 4
    register_head(Blocks, "scores")
    assert list(find_head(Holder())) == ["inner.scores"]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: register_head("Guarded", "out"), SettingsError, "takes a class"),
        (lambda: register_head(Guarded), SettingsError, "at least one"),
        (lambda: register_architecture(Guarded, "first"), SettingsError, "names of modules"),
        (lambda: (register_head(Guarded, "first.weight"), find_head(Guarded())), ModelError, "missing"),
        (lambda: (register_architecture(Guarded, ["frist"]), layer_groups(Guarded())), ModelError, "fits nothing"),
        (lambda: (register_architecture(Guarded, ["first"]), layer_groups(Guarded())), ModelError, "every parameter"),
    ],
)
def test_what_cannot_be_registered_is_said(unregistered, call, error, words):
    with pytest.raises(error, match=words):
        call()
