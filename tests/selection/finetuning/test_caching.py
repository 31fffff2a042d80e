"""Caches in a comparison: the same results, said in words, and left out where they would change something."""

import dataclasses

import numpy as np
import pytest
import tiny
import torch
from transformers import TrainingArguments

from hf_transfer_kit import load_model
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import Budget, PrefixCaches, compare_strategies


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 32, 32, generator=generator) + 2.0 * (torch.arange(count) % 2).view(-1, 1, 1, 1)
    return [{"pixel_values": image, "labels": row % 2} for row, image in enumerate(images)]


def collate(batch):
    return {key: torch.stack([torch.as_tensor(row[key]) for row in batch]) for key in ("pixel_values", "labels")}


@pytest.fixture
def data():
    return PreparedData(rows(16, 0), rows(10, 1), rows(13, 2), collate, "image", ("dark", "bright"))


@pytest.fixture
def make_model(tmp_path):
    tiny.timm_wrapped("resnet18", num_labels=2)[0].save_pretrained(tmp_path / "net")
    return lambda seed: load_model(tmp_path / "net", num_labels=2, seed=seed)


@pytest.fixture
def args(tmp_path):
    return TrainingArguments(
        str(tmp_path / "out"), per_device_train_batch_size=4, report_to="none", use_cpu=True, disable_tqdm=True,
        remove_unused_columns=False,
    )  # fmt: skip


def test_a_race_on_caches_is_the_race_without(data, make_model, args, tmp_path):
    found = []
    caches = PrefixCaches(data, cache_dir=tmp_path / "cache")
    for given in (None, caches):
        race = compare_strategies(
            make_model, data, ["head_only", "freeze_first:k=3", "full"], args, Budget(6, 4), seeds=(0, 1), caches=given
        )
        found.append(race)
    for without, cached in zip(found[0].results, found[1].results, strict=True):
        assert without.trainable_parameters == cached.trainable_parameters
        assert np.isclose(without.validation["loss"], cached.validation["loss"], atol=1e-4)
        assert without.test["accuracy"] == cached.test["accuracy"]
        assert [p.step for p in without.curve] == [p.step for p in cached.curve]
    assert np.array_equal(found[0].predicted, found[1].predicted)
    assert "forward" not in vars(found[1].model)
    assert [note[:64] for note in caches.notes] == [
        "The frozen network before the head ran once for each of the 39 r",
        "The first 3 layer groups ran once for each of the 39 rows; train",
    ]
    made = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(made) == 6  # two depths, three splits; the second seed found them there


def test_augmented_rows_are_never_cached(data, make_model, tmp_path):
    augmented = dataclasses.replace(data, describe={"augmented": True})
    caches = PrefixCaches(augmented, cache_dir=tmp_path / "cache")
    assert caches.attach(make_model(0), 2) is None
    assert caches.notes == (
        "The first 2 layer groups ran at every step, because training data is augmented anew each time.",
    )
    assert not (tmp_path / "cache").exists()


def test_a_budget_that_is_too_small_says_what_it_takes(data, make_model, tmp_path):
    caches = PrefixCaches(data, cache_budget="10KB", cache_dir=tmp_path / "cache")
    assert caches.attach(make_model(0), 1) is None
    assert "more than the cache budget of 10.0 KB" in caches.notes[0]
    assert PrefixCaches(data, cache_budget=0).attach(make_model(0), 1) is None
    with pytest.raises(SettingsError, match="cache_budget='lots' is no size"):
        PrefixCaches(data, cache_budget="lots")


def test_networks_that_cannot_be_split_run_whole(data, tmp_path):
    model = tiny.TRANSFORMERS["hubert"]()[0]
    sounds = [{"input_values": torch.randn(800), "labels": row % 2} for row in range(4)]
    batch = lambda r: {k: torch.stack([torch.as_tensor(x[k]) for x in r]) for k in ("input_values", "labels")}  # noqa: E731
    heard = dataclasses.replace(data, train=sounds, validation=sounds, test=sounds, collator=batch, modality="audio")
    caches = PrefixCaches(heard, cache_dir=tmp_path)
    assert caches.attach(model, 3) is None
    assert "layerdrop" in caches.notes[0]
