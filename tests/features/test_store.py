"""Rows of tensors on disk: what is gathered is what was computed, bit for bit."""

import numpy as np
import pytest
import torch

from hf_transfer_kit.features import Column, build_store

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


@pytest.mark.parametrize(
    "rows", [range(ROWS), [5], [22, 0, 7, 7, 8, -1, -23], np.random.default_rng(0).permutation(ROWS), []]
)
def test_gathered_rows_equal_a_plain_copy(tmp_path, rows):
    columns, values = example()
    store = build(tmp_path, columns, values)
    gathered = store.gather(rows)
    assert list(gathered) == [column.name for column in columns]
    for name, value in values.items():
        picked = [value[row] for row in rows]
        if isinstance(value, torch.Tensor):
            picked = value[torch.as_tensor(np.array(rows, dtype=np.int64))]
        assert same(gathered[name], picked), name
