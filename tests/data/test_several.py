"""Several datasets: the same classes by name, and each counting alike."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from selection.generalising.source_data import prepared

from hf_transfer_kit.data import LoadedSources, UnionRows, distinct_names, load_data, united
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import DataError


def stored(folder, name, labels, names, *, column="text"):
    features = Features({column: Value("string"), "label": ClassLabel(names=list(names))})
    rows = {column: [f"{name} {names[label]} {i}" for i, label in enumerate(labels)], "label": labels}
    path = folder / f"{name}.parquet"
    Dataset.from_dict(rows, features=features).to_parquet(path)
    return load_data(str(path))


def test_classes_are_matched_by_name_and_put_into_the_first_ones_order(tmp_path):
    first = stored(tmp_path, "one", [0, 1] * 20, ("bad", "good"))
    other = stored(tmp_path, "two", [0, 1] * 20, ("good", "bad"))
    found = LoadedSources({"one": first, "two": other})
    assert found.label_names == ("bad", "good")
    for part in found.parts.values():
        for split in (part.train, part.validation, part.test):
            assert split.features["label"].names == ["bad", "good"]
            assert all(
                ("good" in text) == (label == 1) for text, label in zip(split["text"], split["label"], strict=True)
            )
    assert found.name == "one + two"
    assert found.sizes()["two, test"] == len(other.test)
    assert set(found.fingerprints()) == set(found.sizes())
    assert LoadedSources({"one": first}).sizes() == first.sizes()


def test_other_classes_and_other_inputs_are_told(tmp_path):
    first = stored(tmp_path, "one", [0, 1] * 20, ("bad", "good"))
    for names, words in (
        (("good", "fair"), "two lacks 'bad' and has besides 'fair'"),
        (("bad", "good", "fair"), r"two has besides 'fair' \(against one\)"),
    ):
        other = stored(tmp_path, "two", [i % len(names) for i in range(30)], names)
        with pytest.raises(DataError, match=words):
            LoadedSources({"one": first, "two": other})
    with pytest.raises(DataError, match="one holds text and two image"):
        LoadedSources({"one": first, "two": replace(first, modality="image")})
    with pytest.raises(DataError, match="There is no source"):
        LoadedSources({})


def test_in_a_union_each_counts_alike_and_every_row_comes():
    parts = [
        Rows([f"{name}{i}" for i in range(count)], np.arange(count) % 2, "x") for name, count in (("a", 7), ("b", 3))
    ]
    union = UnionRows(parts)
    values = [union[row]["x"] for row in range(len(union))]
    assert Counter(value[0] for value in values) == {"a": 7, "b": 7}
    assert {value for value in values if value[0] == "b"} == {"b0", "b1", "b2"}
    assert [union.label(row) for row in range(len(union))] == [union[row]["labels"] for row in range(len(union))]
    assert union.classes.tolist() == [union.label(row) for row in range(len(union))]
    assert union.fingerprint() == UnionRows(parts).fingerprint() != UnionRows(parts[::-1]).fingerprint()


def test_one_source_stays_as_it_is_and_several_become_one():
    one, other = prepared("red"), prepared("green", sizes=(30, 9, 12))
    assert united([one]) is one
    both = united([one, other])
    assert [len(getattr(both, split)) for split in ("train", "validation", "test")] == [60, 24, 30]
    assert both.label_names == one.label_names
    assert distinct_names(["books", "toys", "books"]) == ["books", "toys", "books (2)"]
