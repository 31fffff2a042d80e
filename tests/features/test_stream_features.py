"""Features of a stream: bit for bit those that are cached of the same rows, of which a batch is held at a time."""

import weakref

import datasets
import pytest
import tiny
import torch
from transformers import default_data_collator

from hf_transfer_kit import cache_features
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.features.shards import read_shard, write_shard
from hf_transfer_kit.features.stream_features import stream_features


class Row(dict):
    """A dictionary that can be watched."""

    __hash__ = object.__hash__


def rows(count=11):
    for row in range(count):
        pixels = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(row))
        yield Row(pixel_values=pixels, labels=row % 3)


@pytest.fixture(scope="module")
def model():
    return tiny.TRANSFORMERS["resnet"]()[0]


@pytest.mark.parametrize(("layer", "pooling"), [("pooled", None), (1, None), (1, "mean")])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_they_are_the_cached_ones(model, tmp_path, layer, pooling, dtype):
    how = {"layer": layer, "pooling": pooling, "dtype": dtype, "batch_size": 4, "collator": default_data_collator}
    cached = cache_features(model, list(rows()), cache_dir=tmp_path, progress=False, **how)
    model.train()
    found = list(stream_features(model, rows(), **how))
    assert all(module.training for module in model.modules())
    assert [batch.num_rows for _, batch in found] == [4, 4, 3]
    start = 0
    for columns, batch in found:
        assert tuple(columns) == cached.store.columns
        write_shard(tmp_path / "part.arrow", batch)
        shard = read_shard(tmp_path / "part.arrow", columns, batch.num_rows)
        expected = cached.batch(range(start, start + batch.num_rows))
        for name, values in expected.items():
            assert torch.equal(torch.from_numpy(shard.views[name].copy()), values)
        start += batch.num_rows
    assert start == 11


def test_no_more_than_a_batch_is_held(model):
    alive, most = weakref.WeakSet(), []

    def watched():
        for row in rows(40):
            alive.add(row)
            most.append(len(alive))  # as it is read, while those before may still be held
            yield row
            del row

    read = stream_features(model, watched(), collator=default_data_collator, batch_size=5)
    for number, _ in enumerate(read, start=1):
        assert len(most) == 5 * number  # none is read ahead
    assert max(most) == 5


def test_what_is_left_early_leaves_the_model_as_it_was(model):
    model.train()
    state = torch.get_rng_state()
    features = stream_features(model, rows(), collator=default_data_collator, batch_size=2)
    next(features)
    features.close()
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("stream", "options", "error", "message"),
    [
        (iter(()), {}, DataError, "The stream has no rows"),
        (rows(), {"layer": "nowhere"}, SettingsError, "nowhere"),
        (rows(), {"batch_size": 0}, SettingsError, "a batch has 1 row or more"),
        (iter([{"labels": 0}]), {}, (DataError, ModelError), "pixel_values|takes|inputs"),
    ],
)
def test_what_cannot_be_is_refused(model, stream, options, error, message):
    with pytest.raises(error, match=message):
        next(stream_features(model, stream, collator=default_data_collator, **options))


def test_a_stream_of_datasets_will_do(model):
    stream = datasets.Dataset.from_list([dict(row, pixel_values=row["pixel_values"].tolist()) for row in rows(3)])
    found = list(stream_features(model, stream.to_iterable_dataset(), collator=default_data_collator, batch_size=2))
    assert [batch.num_rows for _, batch in found] == [2, 1]
