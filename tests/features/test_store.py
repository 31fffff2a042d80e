"""Rows of tensors on disk: what is gathered is what was computed, bit for bit."""

import pickle
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features import Column, build_store, default_cache_dir, find_store

ROWS, PER_SHARD = 23, 4


def example():
    """Columns of every kind with values: plain tensors, and lists where rows differ in shape."""
    torch.manual_seed(1)
    ragged = [torch.randn(row % 3, 2, row % 4) for row in range(ROWS)]
    values = {
        "single": torch.randn(ROWS, 3, 2),
        "half": torch.randn(ROWS, 5).half(),
        "brain": torch.randn(ROWS, 5).bfloat16(),
        "labels": torch.randint(-(2**40), 2**40, (ROWS,)),
        "small": torch.randint(0, 255, (ROWS, 2), dtype=torch.uint8),
        "mask": torch.rand(ROWS, 7) > 0.5,
        "flag": torch.rand(ROWS) > 0.5,
        "nothing": torch.empty(ROWS, 0, 3),
        "maps, 2 axes open": [row.bfloat16() for row in ragged],
        "tokens": [torch.arange(row % 5, dtype=torch.int32) for row in range(ROWS)],
        "masks": [torch.rand(row % 6) > 0.5 for row in range(ROWS)],
    }
    open_shapes = {"maps, 2 axes open": (None, 2, None), "tokens": (None,), "masks": (None,)}
    columns = [
        Column(name, str(value[0].dtype).removeprefix("torch."), open_shapes.get(name, tuple(value[0].shape)))
        for name, value in values.items()
    ]
    return columns, values


def build(cache_dir, columns, values, key="k", **settings):
    def compute(start, stop):
        return {name: value[start:stop] for name, value in values.items()}

    return build_store(
        cache_dir, key, columns, len(next(iter(values.values()))), compute, rows_per_shard=PER_SHARD, **settings
    )


def same(found, expected):
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    return len(found) == len(expected) and all(map(same, found, expected))


@pytest.mark.parametrize("in_place_limit", [2**20, 0], ids=["mapped", "read"])
@pytest.mark.parametrize(
    "rows", [range(ROWS), [5], [22, 0, 7, 7, 8, -1, -23], np.random.default_rng(0).permutation(ROWS), []]
)
def test_gathered_rows_equal_a_plain_copy(tmp_path, rows, in_place_limit, monkeypatch):
    monkeypatch.setattr("hf_transfer_kit.features.store.IN_PLACE_LIMIT", in_place_limit)
    columns, values = example()
    store = build(tmp_path, columns, values)
    gathered = store.gather(rows)
    assert list(gathered) == [column.name for column in columns]
    for name, value in values.items():
        picked = [value[row] for row in rows]
        if isinstance(value, torch.Tensor):
            picked = value[torch.as_tensor(np.array(rows, dtype=np.int64))]
        assert same(gathered[name], picked), name


def test_gathered_tensors_are_copies_that_may_be_written_to(tmp_path):
    store = build(tmp_path, *example())
    taken = store.gather([0, 5], ["single", "maps, 2 axes open"])
    assert list(taken) == ["single", "maps, 2 axes open"]
    before = store.gather([0, 5])
    taken["single"].zero_()
    taken["maps, 2 axes open"][1].zero_()
    assert all(same(store.gather([0, 5])[name], value) for name, value in before.items())


def test_rows_of_one_axis_or_none_are_read_from_the_views_in_place(tmp_path):
    columns, values = example()
    store = build(tmp_path, columns, values)
    view = store._shards[0].views["single"]
    assert not view.flags.owndata
    assert not view.flags.writeable


@pytest.mark.parametrize("row", [ROWS, -ROWS - 1])
def test_a_row_that_is_not_there_is_an_index_error(tmp_path, row):
    store = build(tmp_path, *example())
    with pytest.raises(IndexError, match=rf"Row {row} was asked for, but there are {ROWS}"):
        store.gather([0, row])
    with pytest.raises(DataError, match="no column 'nope'"):
        store.gather([0], ["nope"])


def test_a_store_of_no_rows_is_complete(tmp_path):
    columns, values = example()
    store = build(tmp_path, columns, {name: value[:0] for name, value in values.items()})
    assert len(find_store(tmp_path, "k")) == 0
    assert store.gather([])["single"].shape == (0, 3, 2)
    assert store.gather([])["tokens"] == []
    assert len(store.dataset) == 0
    assert set(store.dataset.column_names) > {column.name for column in columns}


def test_datasets_reads_the_same_rows(tmp_path):
    columns, values = example()
    data = build(tmp_path, columns, values).dataset
    assert len(data) == ROWS
    assert data[7]["single"] == values["single"][7].flatten().tolist()
    assert data["labels"][:] == values["labels"].tolist()
    assert data[8]["maps, 2 axes open.shape"] == [2, 2, 0]
    assert data[22]["tokens"] == [0, 1]
    assert data.cache_files


def test_a_store_can_be_sent_to_another_process(tmp_path):
    store = build(tmp_path, *example(), metadata={"a": 1})
    again = pickle.loads(pickle.dumps(store))
    assert again.metadata == {"a": 1}
    assert same(again.gather([3])["brain"], store.gather([3])["brain"])
    assert store.nbytes == sum(file.stat().st_size for file in store.path.glob("*.arrow"))
    assert "23 rows of single float32[3, 2]" in repr(store)


def test_the_cache_folder_follows_the_environment_when_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TRANSFER_KIT_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("HF_TRANSFER_KIT_CACHE")
    assert default_cache_dir() == Path(datasets.config.HF_CACHE_HOME) / "hf_transfer_kit"
