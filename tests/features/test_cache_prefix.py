import copy
import json
import os
import re
from pathlib import Path

import numpy as np
import processes
import pytest
import tiny
import torch
from safetensors.torch import load_file
from trainer_names import named
from transformers import AutoModelForImageClassification, Trainer, TrainerCallback, TrainingArguments, set_seed

from hf_transfer_kit import FreezeLayers, cache_boundaries, cache_prefix, layer_groups
from hf_transfer_kit.errors import DataError, ModelError, SettingsError


def images(rows=10, side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"pixel_values": torch.randn(3, side, side, generator=generator), "labels": row % 3} for row in range(rows)]


def texts(rows=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 11, (rows,), generator=generator).tolist()
    return [
        {"input_ids": torch.randint(3, 40, (length,), generator=generator).tolist(), "labels": row % 3}
        for row, length in enumerate(lengths)
    ]


class Pad:
    """Texts to the longest of the batch, on either side."""

    def __init__(self, side="right"):
        self.side = side

    def __call__(self, rows):
        longest = max(len(row["input_ids"]) for row in rows)
        batch = {"input_ids": [], "attention_mask": []}
        for row in rows:
            ids, padding = row["input_ids"], [0] * (longest - len(row["input_ids"]))
            ones = [1] * len(ids)
            batch["input_ids"].append(padding + ids if self.side == "left" else ids + padding)
            batch["attention_mask"].append(padding + ones if self.side == "left" else ones + padding)
        return {**{k: torch.tensor(v) for k, v in batch.items()}, "labels": torch.tensor([r["labels"] for r in rows])}


def waves(rows=6, shortest=600):
    generator = torch.Generator().manual_seed(0)
    return [
        {"input_values": torch.randn(shortest + 60 * row, generator=generator), "labels": row % 3}
        for row in range(rows)
    ]


class PadWaves:
    def __init__(self, mask):
        self.mask = mask

    def __call__(self, rows):
        longest = max(len(row["input_values"]) for row in rows)
        values = torch.stack(
            [torch.nn.functional.pad(r["input_values"], (0, longest - len(r["input_values"]))) for r in rows]
        )
        batch = {"input_values": values, "labels": torch.tensor([row["labels"] for row in rows])}
        if self.mask:
            batch["attention_mask"] = torch.stack(
                [(torch.arange(longest) < len(r["input_values"])).long() for r in rows]
            )
        return batch


def logits_of(model, collate, rows):
    model.eval()
    with torch.no_grad():
        return model(**collate(rows)).logits


def arguments(tmp_path, **changes):
    settings = {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    return TrainingArguments(str(tmp_path / "run"), **{**settings, **changes})


def resnet():
    set_seed(1)
    return tiny.timm_wrapped("resnet18", num_labels=3)[0]


class Scaled:
    """Pictures as a batch, with their pixels multiplied."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, rows):
        batch = torch.utils.data.default_collate(rows)
        return {**batch, "pixel_values": self.factor * batch["pixel_values"]}


def test_another_collator_over_the_same_rows_gives_another_cache(tmp_path):
    model, data = resnet(), images(4)
    found = {}
    for factor in (1.0, 3.0):
        collate = Scaled(factor)
        with cache_prefix(model, 3, data, collator=collate, batch_size=2, cache_dir=tmp_path, progress=False) as prefix:
            model.eval()
            with torch.no_grad():
                found[factor] = model(**prefix.collator(prefix.dataset.__getitems__(range(4)))).logits
        assert torch.allclose(found[factor], logits_of(model, collate, data), atol=1e-5)
    assert (found[1.0] - found[3.0]).abs().max() > 1e-3


@pytest.mark.parametrize("k", [1, 3, 5])
def test_training_on_cached_rows_is_training_the_frozen_network(tmp_path, k):
    data = {"train": images(), "test": images(6, seed=1)}
    losses, weights, logits = [], [], []
    for cached in (False, True):
        model = resnet()
        collator = None
        if cached:
            prefix = cache_prefix(model, k, data, cache_dir=tmp_path, progress=False)
            train, test, collator = prefix["train"], prefix["test"], prefix.collator
        else:
            train, test = data["train"], data["test"]
        trainer = Trainer(
            model,
            arguments(tmp_path),
            train_dataset=train,
            eval_dataset=test,
            data_collator=collator,
            callbacks=[FreezeLayers(first=k, quiet=True)],
        )
        trainer.train()
        losses.append(
            [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
            + [trainer.evaluate()["eval_loss"]]
        )
        logits.append(trainer.predict(test).predictions)
        if cached:
            assert prefix.rejoin() is model
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
    assert np.allclose(losses[0], losses[1], atol=1e-5)
    assert np.abs(logits[0] - logits[1]).max() < 1e-5 * max(1, np.abs(logits[0]).max())
    assert max((weights[0][n].float() - weights[1][n].float()).abs().max() for n in weights[0]) < 1e-4
    prefix_names = {n for group in layer_groups(model)[:k] for n in group.parameters}
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in prefix_names)


def test_a_checkpoint_saved_on_cached_rows_is_an_ordinary_one(tmp_path):
    model = resnet()
    prefix = cache_prefix(model, 5, images(), cache_dir=tmp_path, progress=False)
    trainer = Trainer(
        model,
        arguments(tmp_path, save_strategy="steps", save_steps=6),
        train_dataset=prefix.dataset,
        data_collator=prefix.collator,
    )
    trainer.train()
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "run" / "checkpoint-6")
    rows = images(5, seed=3)
    batch = {"pixel_values": torch.stack([row["pixel_values"] for row in rows])}
    prefix.rejoin()
    with torch.no_grad():
        assert (loaded.eval()(**batch).logits - model.eval()(**batch).logits).abs().max() < 1e-6


def test_resume_on_cached_rows_is_bit_equal(tmp_path):
    ends = []
    for stop in (None, 3):
        folder = tmp_path / str(stop)
        for part in (1,) if stop is None else (1, 2):
            model = resnet()
            prefix = cache_prefix(model, 3, images(), cache_dir=tmp_path / "cache", progress=False)
            args = arguments(folder, save_strategy="steps", save_steps=3)
            trainer = Trainer(model, args, train_dataset=prefix.dataset, data_collator=prefix.collator)
            if stop and part == 1:
                trainer.add_callback(_StopAt(3))
            trainer.train(resume_from_checkpoint=part == 2)
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


class _StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


TEXTS = ("bert", "distilbert", "roberta", "deberta_v2", "bert_tokens")


@pytest.mark.parametrize(
    ("name", "side"), [(n, s) for n in TEXTS for s in ("right", "left") if (n, s) != ("deberta_v2", "left")]
)
def test_texts_of_any_length_with_masks(tmp_path, name, side):
    model, _ = tiny.TRANSFORMERS[name]()
    data, collate = texts(), Pad(side)
    if name == "bert_tokens":
        data = [{"input_ids": row["input_ids"], "labels": 0} for row in data]
        collate = lambda rows: {k: v for k, v in Pad(side)(rows).items() if k != "labels"}  # noqa: E731
    if side == "left":
        with pytest.raises(ModelError, match="padded further"):  # positions are counted from the padding
            cache_prefix(model, 2, data, collator=collate, batch_size=4, cache_dir=tmp_path, progress=False)
        return
    for k in range(1, len(layer_groups(model).body) + 1):
        prefix = cache_prefix(model, k, data, collator=collate, batch_size=4, cache_dir=tmp_path, progress=False)
        rows = [7, 2, 11, 0]
        with torch.no_grad():
            model.eval()
            found = model(**prefix.collator(prefix.dataset.__getitems__(rows))).logits
        prefix.rejoin()
        expected = logits_of(model, collate, [data[row] for row in rows])
        if name == "bert_tokens":  # padding's own logits mean nothing
            kept = collate([data[row] for row in rows])["attention_mask"].bool()
            expected, found = expected[kept], found[kept]
        assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "side"), [("gpt2", "right"), ("llama", "right"), ("llama", "left"), ("t5", "right")])
def test_decoders_find_the_last_token_of_cached_rows(tmp_path, name, side):
    model, _ = tiny.TRANSFORMERS[name]()
    data = texts()
    if name == "t5":
        data = [{**row, "input_ids": [*(min(i, 13) for i in row["input_ids"][:-1]), 14]} for row in data]
    for k in range(1, len(layer_groups(model).body) + 1):
        prefix = cache_prefix(model, k, data, collator=Pad(side), batch_size=4, cache_dir=tmp_path, progress=False)
        rows = [7, 2, 11, 0]
        with torch.no_grad():
            model.eval()
            found = model(**prefix.collator(prefix.dataset.__getitems__(rows))).logits
        prefix.rejoin()
        assert (found - logits_of(model, Pad(side), [data[row] for row in rows])).abs().max() < 1e-5


def speech(name):
    model, _ = tiny.TRANSFORMERS[name]()
    model.config.layerdrop = 0.0
    model.config.apply_spec_augment = False
    return model


def test_sounds_of_any_length_with_masks(tmp_path):
    model, data, collate = speech("wav2vec2_stable"), waves(), PadWaves(mask=True)
    for k in range(1, len(layer_groups(model).body) + 1):
        prefix = cache_prefix(model, k, data, collator=collate, batch_size=2, cache_dir=tmp_path, progress=False)
        rows = [1, 4, 0]
        with torch.no_grad():
            model.eval()
            found = model(**prefix.collator(prefix.dataset.__getitems__(rows))).logits
        prefix.rejoin()
        assert (found - logits_of(model, collate, [data[row] for row in rows])).abs().max() < 1e-5


def test_sounds_without_a_mask_whose_padding_is_heard_are_refused(tmp_path):
    with pytest.raises(ModelError, match="padded further"):
        cache_prefix(
            speech("wav2vec2"),
            5,
            waves(),
            collator=PadWaves(mask=False),
            batch_size=2,
            cache_dir=tmp_path,
            progress=False,
        )


def test_masks_over_time_are_drawn_anew_so_they_are_refused_below_the_head(tmp_path):
    model = speech("wav2vec2_stable")
    model.config.apply_spec_augment = True
    model.config.mask_time_prob = 0.5
    data = waves(6, shortest=2000)
    with pytest.raises(ModelError, match="cannot be split"):
        cache_prefix(model, 4, data, collator=PadWaves(mask=True), batch_size=2, cache_dir=tmp_path, progress=False)
    cache_prefix(
        model, 6, data, collator=PadWaves(mask=True), batch_size=2, cache_dir=tmp_path, progress=False
    ).rejoin()


class Counting:
    """Rows that say how often they were read."""

    def __init__(self, rows):
        self.rows, self.reads = rows, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        self.reads += 1
        return self.rows[row]

    def fingerprint(self):
        return str(sum(float(row["pixel_values"].sum()) + row["labels"] for row in self.rows))


def test_a_second_run_computes_nothing_and_another_head_changes_nothing(tmp_path):
    model, data = resnet(), Counting(images(200))
    cache_prefix(model, 5, data, cache_dir=tmp_path, progress=False).rejoin()
    first, data.reads = data.reads, 0
    torch.nn.init.normal_(model.timm_model.fc.weight)
    cache_prefix(model, 5, data, cache_dir=tmp_path, progress=False).rejoin()
    assert first >= 200
    assert data.reads < 10  # the sample that the two ways are compared on


class Interrupted(Counting):
    """Stops in the middle once."""

    def __getitem__(self, row):
        if self.reads == 60:
            self.reads = 0
            raise KeyboardInterrupt
        return super().__getitem__(row)


def test_an_interrupted_pass_goes_on_where_it_stopped_to_the_same_bits(tmp_path):
    model, rows = resnet(), images(90)
    whole = cache_prefix(model, 3, Counting(rows), batch_size=4, cache_dir=tmp_path / "whole", progress=False)
    whole.rejoin()
    data = Interrupted(rows)
    with pytest.raises(KeyboardInterrupt):
        cache_prefix(model, 3, data, batch_size=4, cache_dir=tmp_path / "again", progress=False)
    assert "forward" not in vars(model)
    assert not [path for path in (tmp_path / "again").iterdir() if (path / "manifest.json").exists()]
    again = cache_prefix(model, 3, data, batch_size=4, cache_dir=tmp_path / "again", progress=False)
    assert data.reads < 90 - 60 + 4 * 2 + 10  # what was missing, with the shard that was begun, and the sample
    first, second = (p.dataset.store.path for p in (whole, again))
    assert first.name == second.name
    for file in first.glob("*.arrow"):
        assert file.read_bytes() == (second / file.name).read_bytes()


@pytest.mark.parametrize("change", ["weight", "buffer", "row", "label", "transform", "k", "dtype", "later weight"])
def test_what_a_cache_depends_on(tmp_path, change):
    model, data = resnet(), images()
    cache_prefix(model, 3, data, cache_dir=tmp_path, progress=False).rejoin()
    arguments = {}
    k = 3
    with torch.no_grad():
        if change == "weight":
            model.timm_model.layer1[0].conv1.weight[0, 0, 0, 0] += 1e-3
        elif change == "buffer":
            model.timm_model.layer1[0].bn1.running_mean[0] += 1e-3
        elif change == "later weight":
            model.timm_model.layer4[0].conv1.weight[0, 0, 0, 0] += 1e-3
    if change == "row":
        data[4]["pixel_values"][0, 0, 0] += 1e-3
    elif change == "label":
        data[4]["labels"] = 2
    elif change == "transform":
        arguments["collator"] = _halved
    elif change == "k":
        k = 2
    elif change == "dtype":
        arguments["dtype"] = "float16"
    cache_prefix(model, k, data, cache_dir=tmp_path, progress=False, **arguments).rejoin()
    caches = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(caches) == (1 if change == "later weight" else 2)


def _halved(rows):
    return {
        "pixel_values": torch.stack([row["pixel_values"] for row in rows]) / 2,
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 5e-3), ("bfloat16", 5e-2)])
def test_half_precision_takes_half_the_bytes(tmp_path, dtype, tolerance):
    model, data = resnet(), images(64)
    sizes, logits = [], []
    for kind in ("float32", dtype):
        with cache_prefix(model, 2, data, dtype=kind, cache_dir=tmp_path, progress=False) as prefix, torch.no_grad():
            sizes.append(prefix.nbytes)
            logits.append(model.eval()(**prefix.collator(prefix.dataset.__getitems__(range(8)))).logits)
    assert 0.45 < sizes[1] / sizes[0] < 0.55
    assert logits[0].dtype == logits[1].dtype == torch.float32
    assert 0 < (logits[0] - logits[1]).abs().max() < tolerance * logits[0].abs().max()


class Augmented(Counting):
    def __getitem__(self, row):
        return {**self.rows[row], "pixel_values": self.rows[row]["pixel_values"] + torch.randn(1)}


def test_views_are_versions_of_a_row_and_one_is_drawn_each_time(tmp_path):
    model, data = resnet(), Augmented(images(8))
    prefix = cache_prefix(
        model, 2, {"train": data, "test": images(4)}, views={"train": 3}, cache_dir=tmp_path, progress=False
    )
    assert (len(prefix["train"]), len(prefix["test"])) == (8, 4)
    seen = {round(float(prefix["train"][5]["cached_0"].sum()), 3) for _ in range(40)}
    assert len(seen) == 3
    assert len({float(prefix["test"][2]["cached_0"].sum()) for _ in range(5)}) == 1
    assert all(int(prefix["train"][row]["labels"]) == row % 3 for row in range(8))


def test_the_budget_is_a_limit_and_names_the_choices(tmp_path):
    with pytest.raises(SettingsError, match=r"more than the cache budget of 100\.0 KB.*dtype='float16'.*no cache"):
        cache_prefix(resnet(), 1, images(64), cache_dir=tmp_path, cache_budget="100KB", progress=False)
    assert not list(tmp_path.iterdir())
    cache_prefix(resnet(), 5, images(4), cache_dir=tmp_path, cache_budget="100KB", progress=False)


def test_the_size_is_said_before(tmp_path, capsys):
    prefix = cache_prefix(resnet(), 2, images(64), cache_dir=tmp_path)
    said = capsys.readouterr().out
    assert "Caching the first 2 layer groups of 64 rows: about 1.0 MB" in said
    assert abs(prefix.nbytes - 1.05e6) < 5e4


class Growing(Counting):
    def __getitem__(self, row):
        if self.reads > 12:
            self.rows = [*self.rows, self.rows[0]]
        return super().__getitem__(row)

    def fingerprint(self):
        return "growing"


def test_a_dataset_that_changes_its_length_leaves_nothing_that_looks_complete(tmp_path):
    cache_prefix(resnet(), 3, images(), cache_dir=tmp_path, progress=False)
    (before,) = (path for path in tmp_path.iterdir() if path.is_dir())
    content = {file.name: file.read_bytes() for file in before.iterdir()}
    with pytest.raises(DataError, match="had 100 rows when caching began"):
        cache_prefix(resnet(), 3, Growing(images(100)), batch_size=4, cache_dir=tmp_path, progress=False)
    complete = [path for path in tmp_path.iterdir() if (path / "manifest.json").exists()]
    assert complete == [before]
    assert content == {file.name: file.read_bytes() for file in before.iterdir()}


def test_streams_empty_data_and_weights_elsewhere_are_refused(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        cache_prefix(resnet(), 3, [], cache_dir=tmp_path)
    with pytest.raises(DataError, match="generator is a stream"):
        cache_prefix(resnet(), 3, (row for row in images()), cache_dir=tmp_path)
    with pytest.raises(ModelError, match="meta device"):
        cache_prefix(resnet().to("meta"), 3, images(), cache_dir=tmp_path)
    with pytest.raises(SettingsError, match="k from 1 to 5"):
        cache_prefix(resnet(), 6, images(), cache_dir=tmp_path)
    with pytest.raises(SettingsError, match="dtype='int8' is unknown"):
        cache_prefix(resnet(), 3, images(), dtype="int8", cache_dir=tmp_path)


def test_one_pass_stores_every_boundary(tmp_path):
    model, data = resnet(), Counting(images(40))
    caches = cache_boundaries(model, {"train": data}, cache_dir=tmp_path, progress=False)
    assert caches.depths == (1, 2, 3, 4, 5)
    assert data.reads < 60
    rows = [3, 30, 17]
    batch = {"pixel_values": torch.stack([data.rows[row]["pixel_values"] for row in rows])}
    for k in caches.depths:
        fresh = resnet()
        torch.nn.init.normal_(fresh.timm_model.fc.weight)  # another head, the same body
        with caches.attach(fresh, k) as prefix, torch.no_grad():
            found = fresh.eval()(**prefix.collator(prefix["train"].__getitems__(rows))).logits
        with torch.no_grad():
            assert (found - fresh(**batch).logits).abs().max() < 1e-5 * max(1, found.abs().max())


def test_boundaries_belong_to_their_weights(tmp_path):
    caches = cache_boundaries(resnet(), {"train": images()}, [2, 4], cache_dir=tmp_path, progress=False)
    other = copy.deepcopy(resnet())
    with torch.no_grad():
        other.timm_model.layer2[0].conv1.weight.add_(1e-3)
    caches.attach(other, 2).rejoin()
    with pytest.raises(ModelError, match="hold other weights"):
        caches.attach(other, 4)
    with pytest.raises(SettingsError, match="k=3 is not cached; cached are 2, 4"):
        caches.attach(resnet(), 3)


def test_boundaries_that_cannot_be_are_named(tmp_path):
    model = tiny.TRANSFORMERS["hubert"]()[0]
    caches = cache_boundaries(
        model, {"train": waves()}, [1, 5], collator=PadWaves(mask=True), cache_dir=tmp_path, progress=False
    )
    assert "layerdrop" in caches.refused[1]
    assert 1 not in caches.depths


def test_what_is_stored_says_what_it_is(tmp_path):
    prefix = cache_prefix(resnet(), 2, images(), cache_dir=tmp_path, progress=False)
    manifest = json.loads((prefix.dataset.store.path / "manifest.json").read_text())
    assert manifest["metadata"] == {"depths": [2], "views": 1, "dtype": "float32"}
    assert prefix.dataset.store.dataset.num_rows == 10


def test_two_processes_share_the_pass_and_train_as_one(tmp_path):
    program = Path(__file__).with_name("prefix_process.py")
    places = os.pathsep.join([str(program.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    said = {}
    for name, ranks, batch_size in (("one", 1, 8), ("two", 2, 4)):
        (tmp_path / name).mkdir()
        command = [program, tmp_path / name, batch_size]
        done = processes.run(command, ranks=ranks, env=environment, timeout=200)
        assert done.returncode == 0, done.stderr
        said[name] = sorted(re.findall(r"rank \d: \d+ computed, \d+ read", done.stdout))
    computed = [int(line.split()[2]) for line in said["two"]]
    alone = int(said["one"][0].split()[2])
    looked_at = alone - 60  # the sample, which every process looks at
    assert sum(computed) - 2 * looked_at == 60
    assert max(computed) - min(computed) <= 4
    one, first, second = (
        load_file(tmp_path / f) for f in ("one/rank0.safetensors", "two/rank0.safetensors", "two/rank1.safetensors")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert max((one[name] - first[name]).abs().max() for name in one) < 1e-6
    assert any(
        not torch.equal(one[name], value) for name, value in tiny_vit().state_dict().items() if "classifier" in name
    )


def tiny_vit():
    set_seed(0)
    return tiny.TRANSFORMERS["vit"]()[0]


def test_training_in_bfloat16(tmp_path):
    losses = []
    for half in (False, True):
        model = resnet()
        prefix = cache_prefix(model, 3, images(), cache_dir=tmp_path, progress=False)
        args = arguments(tmp_path, bf16=half, learning_rate=1e-4)
        losses.append(
            Trainer(model, args, train_dataset=prefix.dataset, data_collator=prefix.collator).train().training_loss
        )
        prefix.rejoin()
        assert not {"forward", "_original_forward"} & set(vars(model))
    assert losses[0] != losses[1]
    assert abs(losses[0] - losses[1]) < 0.15 * losses[0]
    with torch.no_grad():
        assert model.eval()(pixel_values=torch.zeros(1, 3, 32, 32)).logits.dtype == torch.float32


def test_gradient_checkpointing_behind_a_cut(tmp_path):
    losses = []
    for checkpointing in (False, True):
        model = tiny_vit()
        prefix = cache_prefix(model, 2, images(), cache_dir=tmp_path, progress=False)
        args = arguments(tmp_path, **named({"activation_checkpointing": checkpointing}))
        trainer = Trainer(model, args, train_dataset=prefix.dataset, data_collator=prefix.collator)
        losses.append(trainer.train().training_loss)
    assert abs(losses[0] - losses[1]) < 1e-6
