"""Features computed once: what they are, when they are computed anew, and what is refused."""

import os
import random
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import processes
import pytest
import tiny
import torch
from snapshots import labelled_rows, moved, snapshot
from torch import nn
from transformers import Trainer, TrainingArguments

from hf_transfer_kit import cache_features, layer_groups, replace_head
from hf_transfer_kit.backbones.feature_maps import body_modules
from hf_transfer_kit.errors import DataError, ModelError, SettingsError


@pytest.fixture
def cached(tmp_path):
    """Caching in a folder of the test's own, in batches of 3, without a bar."""

    def cache(model, rows, **settings):
        return cache_features(model, rows, **{"cache_dir": tmp_path, "batch_size": 3, "progress": False, **settings})

    return cache


def forwards(model) -> list[int]:
    """Grows by the size of each batch that runs through the model's first layer."""
    sizes = []
    first = next(module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Embedding, nn.Conv1d)))
    first.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    return sizes


@dataclass(frozen=True)
class Padded:
    """Rows of unlike length, padded to the longest of the batch."""

    name: str = "input_ids"

    def __call__(self, rows):
        longest = max(len(row[self.name]) for row in rows)
        values = torch.stack([nn.functional.pad(row[self.name], (0, longest - len(row[self.name]))) for row in rows])
        mask = torch.stack([(torch.arange(longest) < len(row[self.name])).long() for row in rows])
        return {self.name: values, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


TEXTS = [{"input_ids": torch.arange(3, 3 + length), "labels": length % 3} for length in (2, 6, 4, 5, 3)]
WAVES = [
    {"input_values": torch.randn(length, generator=torch.Generator().manual_seed(length)), "labels": 1}
    for length in (800, 500, 650, 420)
]


@pytest.mark.parametrize(
    "name", ["timm/resnet18", "wrapped/mobilenetv2_100", "wrapped/vit_tiny_patch16_224", "resnet", "vit", "bert", "t5"]
)
def test_pooled_features_through_the_last_layer_are_the_models_logits(cached, name):
    model, inputs = tiny.classifiers()[name]()
    model.eval()
    rows = labelled_rows(inputs, 5)
    features = cached(model, rows, collator=lambda rows: torch.utils.data.default_collate(rows), fingerprint="rows")
    with torch.no_grad():
        output = tiny.run(model, {key: torch.stack([row[key] for row in rows]) for key in inputs})
        logits = getattr(output, "logits", output)
        head = model.get_submodule(features.store.metadata["taken"])
        if name == "t5":
            head = model.classification_head
        torch.testing.assert_close(head(features.batch(range(5))["features"]), logits, atol=1e-5, rtol=0)
    assert features.labels.tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("layer", ["encoder.layer.1", 2, -2])
def test_the_mean_over_a_text_leaves_padding_out(cached, layer):
    model = tiny.TRANSFORMERS["bert"]()[0].eval()
    features = cached(model, TEXTS, layer=layer, pooling="mean", collator=Padded()).features
    for row, text in enumerate(TEXTS):
        with torch.no_grad():
            alone = model.bert(text["input_ids"][None]).last_hidden_state.mean(dim=1)[0]
        np.testing.assert_allclose(features[row], alone, atol=1e-6)


def test_the_mean_over_a_sound_leaves_padding_out(cached):
    model = tiny.TRANSFORMERS["wav2vec2_stable"]()[0].eval()
    features = cached(model, WAVES, collator=Padded("input_values")).features
    with torch.no_grad():
        for row, wave in enumerate(WAVES):
            alone = model.wav2vec2(wave["input_values"][None]).last_hidden_state.mean(dim=1)[0]
            np.testing.assert_allclose(features[row], alone, atol=1e-5)
    frames = cached(model, WAVES, layer=0, pooling="mean", collator=Padded("input_values")).features
    assert frames.shape == (4, 8)  # channels of the convolutions, not their frames


@pytest.mark.parametrize("batch_size", [4, 50])  # as many rows as positions: a table of these has one for each
def test_before_the_layers_of_whisper_sound_and_place_are_added(cached, batch_size):
    model, inputs = tiny.TRANSFORMERS["whisper"]()
    rows = [{"input_features": torch.randn(inputs["input_features"][0].shape)} for _ in range(50)]
    features = cached(model.eval(), rows, layer=0, pooling="mean", batch_size=batch_size).features
    with torch.no_grad():
        batch = torch.stack([row["input_features"] for row in rows])
        added = model(batch, output_hidden_states=True).hidden_states[0].mean(1)
    np.testing.assert_allclose(np.stack([features[row] for row in range(50)]), added, atol=1e-5)
    first = layer_groups(model)[0].name
    assert not any("embed_positions" in name for name in body_modules(model, first)[first])  # of DELTA


def test_all_positions_of_a_text_are_kept_without_padding(cached):
    model = tiny.TRANSFORMERS["bert"]()[0].eval()
    features = cached(model, TEXTS, layer=2, collator=Padded())
    found = features.batch(range(5))["features"]
    assert [tuple(row.shape) for row in found] == [(2, 8), (6, 8), (4, 8), (5, 8), (3, 8)]
    with torch.no_grad():
        alone = model.bert(TEXTS[3]["input_ids"][None]).last_hidden_state[0]
    torch.testing.assert_close(found[3], alone, atol=1e-6, rtol=0)
    with pytest.raises(DataError, match="Read them with batch"):
        _ = features.features


def test_all_positions_of_a_picture_are_kept(cached):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    features = cached(model, labelled_rows(inputs, 4), layer=-1)
    assert features.features.shape == (4, 16, 4, 4)
    pooled = cached(model, labelled_rows(inputs, 4), layer=-1, pooling="mean").features
    np.testing.assert_allclose(features.features.mean(axis=(2, 3)), pooled, atol=1e-6)


def test_a_module_of_unknown_architecture(cached):
    model, rows = tiny.Disordered().eval(), [{"x": torch.randn(4), "labels": row % 2} for row in range(5)]
    x = torch.stack([row["x"] for row in rows])
    with torch.no_grad():
        expected = model.middle(model.inward(x) * model.scale)
        torch.testing.assert_close(torch.from_numpy(cached(model, rows, layer="middle.2").features), expected)
        expected = model.out(expected)
    torch.testing.assert_close(torch.from_numpy(cached(model, rows).features), expected)


def test_without_a_head_the_models_own_output_is_pooled(cached):
    model = tiny.TRANSFORMERS["bert"]()[0].bert.eval()
    features = cached(model, TEXTS, collator=Padded()).features
    with torch.no_grad():
        alone = model(TEXTS[0]["input_ids"][None]).last_hidden_state.mean(dim=1)[0]
    np.testing.assert_allclose(features[0], alone, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_reduced_precision_is_the_rounded_feature(cached, dtype):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = labelled_rows(inputs, 4)
    full = torch.from_numpy(cached(model, rows).features)
    found = cached(model, rows, dtype=dtype).batch(range(4))["features"]
    assert found.dtype is getattr(torch, dtype)
    assert torch.equal(found, full.to(found.dtype))


def test_computed_once_and_read_again(cached):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows, sizes = labelled_rows(inputs, 8), forwards(model)
    first = cached(model, rows)
    assert sum(sizes) == 8
    assert first.seconds > 0
    again = cached(model, rows)
    assert sum(sizes) == 8
    assert again.seconds == 0
    assert np.array_equal(first.features, again.features)


def test_a_new_head_changes_nothing_about_the_cache(cached):
    model, inputs = tiny.timm_wrapped("resnet18")
    rows = labelled_rows(inputs, 4)
    first = cached(model, rows)
    assert cached(replace_head(model, 7), rows).store.path == first.store.path


def test_what_features_depend_on_gives_a_new_cache(cached):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = labelled_rows(inputs, 4)
    paths = [cached(model, rows).store.path]
    paths += [
        cached(model, rows, **change).store.path
        for change in (
            {"layer": -1},
            {"layer": -1, "pooling": "mean"},
            {"dtype": "float16"},
            {"fingerprint": "other"},
            {"keep_columns": ()},
        )
    ]
    rows[2] = {**rows[2], "pixel_values": rows[2]["pixel_values"] + torch.eye(32)[0, 0]}
    paths.append(cached(model, rows).store.path)
    with torch.no_grad():
        next(model.parameters()).flatten()[0].add_(1e-3)
    paths.append(cached(model, rows).store.path)
    next(buffer for buffer in model.buffers() if buffer.is_floating_point()).flatten()[0].add_(1e-3)
    paths.append(cached(model, rows).store.path)
    next(module for module in model.modules() if isinstance(module, nn.Conv2d)).stride = (1, 1)
    paths.append(cached(model, rows).store.path)
    assert len(set(paths)) == len(paths)


@dataclass(frozen=True)
class Scaled:
    """Rows as a batch, with their pixels multiplied."""

    factor: float

    def __call__(self, rows):
        batch = torch.utils.data.default_collate(rows)
        return {**batch, "pixel_values": self.factor * batch["pixel_values"]}


def test_another_collator_over_the_same_rows_gives_features_of_its_own(cached):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = labelled_rows(inputs, 4)
    larger = [{**row, "pixel_values": 3 * row["pixel_values"]} for row in rows]
    first = cached(model, rows, collator=Scaled(1.0))
    other = cached(model, rows, collator=Scaled(3.0))
    assert first.store.path != other.store.path
    assert np.abs(first.features - other.features).max() > 0.01
    np.testing.assert_allclose(other.features, cached(model, larger).features, atol=1e-6)
    assert cached(model, rows, collator=Scaled(3.0)).seconds == 0


def test_the_model_is_left_as_it_was(cached):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    model.train()
    next(iter(model.children())).eval()
    modes = [module.training for module in model.modules()]
    before, state = snapshot(model), (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())
    cached(model, labelled_rows(inputs, 4))
    assert modes == [module.training for module in model.modules()]
    assert not moved(before, model)
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == random.getstate()
    assert np.array_equal(state[2], np.random.get_state()[1])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    model(**inputs).logits.sum().backward()


def test_a_stopped_run_goes_on_to_the_same_bits(cached):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = [{**row, "pixel_values": row["pixel_values"] + index} for index, row in enumerate(labelled_rows(inputs, 80))]
    whole = cached(model, rows, fingerprint="whole").features
    sizes = forwards(model)
    calls = []

    def stops(given):
        calls.append(given)
        if len(calls) == 15:
            raise KeyboardInterrupt
        return torch.utils.data.default_collate(given)

    with pytest.raises(KeyboardInterrupt):
        cached(model, rows, collator=stops, fingerprint="stopped")
    done = sum(sizes)
    again = cached(model, rows, collator=stops, fingerprint="stopped").features
    assert np.array_equal(whole, again)
    assert done == 42
    assert sum(sizes) <= 80 + 9  # the first batch tells the layout; of the shard in work up to one batch was lost


def test_random_transforms_are_drawn_by_place(cached):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    reads = []

    class Noisy(list):
        def __getitem__(self, row):
            reads.append(row)
            if len(reads) == 30:
                raise KeyboardInterrupt
            noise = torch.randn(3, 32, 32) + random.random() + np.random.rand()
            return {**super().__getitem__(row), "pixel_values": noise}

    with pytest.raises(KeyboardInterrupt):
        cached(model, Noisy(labelled_rows(inputs, 60)), fingerprint="stopped")
    stopped = cached(model, Noisy(labelled_rows(inputs, 60)), fingerprint="stopped").features
    torch.manual_seed(5)
    assert np.array_equal(stopped, cached(model, Noisy(labelled_rows(inputs, 60)), fingerprint="whole").features)


def test_trainer_trains_a_head_on_them(cached, tmp_path):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    features = cached(model, labelled_rows(inputs, 8))
    assert features[3]["labels"] == 0
    assert isinstance(features[3]["labels"], int)
    assert features[-1]["features"].shape == (16,)
    assert features.dataset.num_rows == 8

    class Head(nn.Linear):
        def forward(self, features, labels):
            logits = super().forward(features)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    args = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    head = Head(16, 3)
    before = snapshot(head)
    Trainer(head, args, train_dataset=features).train()
    assert moved(before, head) == {"weight", "bias"}


def test_unlabelled_rows(cached):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = [{"pixel_values": row["pixel_values"]} for row in labelled_rows(inputs, 4)]
    features = cached(model, rows)
    assert set(features[0]) == {"features"}
    with pytest.raises(DataError, match="cached without labels"):
        _ = features.labels


def test_two_processes_share_the_work_and_give_the_same_bits(cached, tmp_path):
    program = Path(__file__).with_name("features_process.py")
    places = {"PYTHONPATH": os.pathsep.join([str(program.parents[1]), os.environ.get("PYTHONPATH", "")])}
    environment = {**os.environ, **places, "OMP_NUM_THREADS": "1"}
    done = processes.run([program, tmp_path / "two"], ranks=2, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    # Nine shards: five and four; the second process also ran the first batch, which tells the layout.
    said = sorted(re.findall(r"rank \d: \d+ computed, \d+ read", done.stdout))  # both may write on one line
    assert said == ["rank 0: 26 computed, 50 read", "rank 1: 27 computed, 50 read"]
    torch.manual_seed(0)
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = [{**row, "pixel_values": row["pixel_values"] + i} for i, row in enumerate(labelled_rows(inputs, 50))]
    alone = cached(model, rows)
    (two,) = [path for path in (tmp_path / "two").iterdir() if path.is_dir()]
    assert two.name == alone.store.path.name
    for file in alone.store.path.glob("*.arrow"):
        assert (two / file.name).read_bytes() == file.read_bytes()


class Growing(list):
    """Has one row more each time it is read."""

    def __getitem__(self, row):
        self.append(super().__getitem__(0))
        return super().__getitem__(row)


@pytest.mark.parametrize(("batch_size", "grown"), [(1, 5), (4, 8)])
def test_data_that_changes_its_length(cached, tmp_path, batch_size, grown):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    with pytest.raises(DataError, match=f"had 4 rows when caching began, but it has {grown} rows now"):
        cached(model, Growing(labelled_rows(inputs, 4)), fingerprint="growing", batch_size=batch_size)
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": "stage9"}, "layer='stage9' is no layer group of ResNet"),
        ({"layer": 3}, "a depth from 0 to 2"),
        ({"layer": True}, "layer=True is not what it should be"),
        ({"pooling": "sum"}, "pooling='sum' is unknown; choose 'mean', 'first', 'last', 'max', 'statistics' or None"),
        ({"dtype": "int8"}, "dtype='int8' is unknown"),
        ({"batch_size": 0}, "a batch has 1 row or more"),
        ({"keep_columns": "labels"}, "give a list of texts"),
    ],
)
def test_settings_that_are_not_allowed(cached, settings, message):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    assert len(layer_groups(model).body) == 3
    with pytest.raises(SettingsError, match=message):
        cached(model, labelled_rows(inputs, 4), **settings)


def test_data_that_is_refused(cached, tmp_path):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = labelled_rows(inputs, 4)
    with pytest.raises(DataError, match="generator is a stream without length"):
        cached(model, (row for row in rows))
    with pytest.raises(DataError, match="The dataset has no rows"):
        cached(model, [])
    with pytest.raises(
        DataError, match="keep_columns names 'index', but the collated batch holds pixel_values, labels"
    ):
        cached(model, rows, keep_columns=("index",))
    with pytest.raises(DataError, match=r"reads .*pixel_values.*, but the collated batch holds images"):
        cached(model, [{"images": row["pixel_values"]} for row in rows])
    large = [{**row, "pixel_values": row["pixel_values"] * 1e9} for row in rows]
    with pytest.raises(DataError, match="beyond the largest float16"):
        cached(model, large, dtype="float16")
    assert not list(tmp_path.rglob("manifest.json"))


class TableFirst(nn.Module):
    """Its first layer gives the same rows for any batch."""

    def __init__(self):
        super().__init__()
        self.table, self.body, self.head = nn.Embedding(3, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.body(self.table(torch.arange(3)).mean(0) + x))


def test_models_that_are_refused(cached):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    with pytest.raises(ModelError, match="on the meta device"):
        cached(model.to("meta"), labelled_rows(inputs, 4))
    with pytest.raises(ModelError, match="no row of features for each"):
        cached(TableFirst(), [{"x": torch.randn(6)} for _ in range(4)], layer=0)
    net = tiny.timm_network("resnet18")[0]
    net.fc.to("meta")
    with pytest.raises(ModelError, match=r"on several devices \(cpu, meta\)"):
        cached(net, labelled_rows(inputs, 4))
