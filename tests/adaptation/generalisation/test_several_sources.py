"""A step holds as many rows of each source, and which ones depends on seed and epoch alone."""

from collections import Counter

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from torch.utils.data import default_collate

from hf_transfer_kit.adaptation import SeveralSources, SourcesCollator
from hf_transfer_kit.errors import DataError, SettingsError


def numbered(count, first=0):
    return [{"x": float(first + row), "labels": row % 2} for row in range(count)]


def sources(*sizes, seed=0):
    return SeveralSources({f"s{k}": numbered(size, 100 * k) for k, size in enumerate(sizes)}, seed=seed)


def test_every_index_holds_a_row_of_each_and_shorter_ones_go_round():
    found = sources(10, 4, 7)
    assert len(found) == 10
    assert found.names == ("s0", "s1", "s2")
    rows = [[row["x"] for row in found[i].rows] for i in range(10)]
    assert [row[0] for row in rows] == list(range(10))
    assert sorted(row[1] for row in rows[:4]) == sorted(row[1] for row in rows[4:8]) == [100, 101, 102, 103]
    assert [row[1] for row in rows[:4]] != [row[1] for row in rows[4:8]]
    assert sorted(Counter(row[2] for row in rows).values()) == [1, 1, 1, 1, 2, 2, 2]


def test_seed_and_epoch_alone_decide():
    first, again, other = sources(40, 17), sources(40, 17), sources(40, 17, seed=1)
    places = lambda found: found.rows_of(range(40))[1]  # noqa: E731
    assert places(first) == places(again) != places(other)
    again.reshuffle(1)
    assert places(first) != places(again)
    again.reshuffle(0)
    assert places(first) == places(again)


def test_a_batch_says_which_source_each_row_is_of():
    found = sources(6, 3)
    batch = SourcesCollator(default_collate)(found.__getitems__([0, 3, 5]))
    assert batch["domains"].tolist() == [0, 1, 0, 1, 0, 1]
    assert (batch["x"] >= 100).long().tolist() == batch["domains"].tolist()
    assert batch["labels"].shape == (6,)
    plain = SourcesCollator(default_collate)(numbered(3))
    assert "domains" not in plain


def test_a_change_is_made_to_inputs_of_training_alone():
    collator = SourcesCollator(default_collate, change=lambda values: values + 1000)
    batch = collator(sources(4, 4).__getitems__([0, 1]))
    assert batch["x"].min() >= 1000
    assert batch["labels"].max() < 2
    assert collator(numbered(3))["x"].max() < 1000


@pytest.mark.parametrize(("given", "words"), [
    ({}, "There is no source"),
    ({"a": numbered(3), "b": []}, "The source 'b' has no rows"),
    ({"a": numbered(3), "b": iter(numbered(3))}, "The source 'b' has no rows"),
])  # fmt: skip
def test_what_cannot_be_read_is_told(given, words):
    with pytest.raises(DataError, match=words):
        SeveralSources(given)


def test_other_classes_and_other_indices_are_told():
    def named(*names):
        features = Features({"x": Value("float32"), "label": ClassLabel(names=list(names))})
        return Dataset.from_dict({"x": [0.0, 1.0], "label": [0, 1]}, features=features)

    SeveralSources({"a": named("cat", "dog"), "b": named("cat", "dog")})
    with pytest.raises(DataError, match="same classes in the same order"):
        SeveralSources({"a": named("cat", "dog"), "b": named("dog", "cat")})
    with pytest.raises(IndexError, match="There are 4 rows of each source"):
        sources(4, 2)[4]
    with pytest.raises(SettingsError, match="change=3 cannot be called"):
        SourcesCollator(default_collate, change=3)
    assert torch.tensor(sources(4, 2).rows_of([])).numel() == 0
