"""Rows that are replayed: as many of each class, drawn once for all, in balanced batches."""

import logging

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from hf_transfer_kit import ClassBalance, load_data
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.data.growing import with_classes
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.data.replay import ChosenRows, JoinedRows, few_places, replayed_rows, with_few_rows
from hf_transfer_kit.errors import SettingsError


def rows(classes, first=0):
    return Rows([first + place for place in range(len(classes))], np.array(classes), "value")


def test_each_class_gives_as_many_rows_and_a_draw_does_not_hang_on_other_classes():
    classes = np.repeat([3, 0, 7], [10, 2, 50])
    kept = few_places(classes, 4, seed=1)
    assert np.bincount(classes[kept])[[0, 3, 7]].tolist() == [2, 4, 4]
    assert (np.diff(kept) > 0).all()
    assert np.array_equal(kept, few_places(classes, 4, seed=1))
    assert not np.array_equal(kept, few_places(classes, 4, seed=2))
    without = classes[classes != 7]
    assert np.array_equal(kept[kept < len(without)], few_places(without, 4, seed=1))
    with pytest.raises(SettingsError, match="0 is no number of rows of each class"):
        few_places(classes, 0, seed=1)


def test_joined_rows_are_the_parts_one_after_the_other():
    joined = JoinedRows([rows([5, 6]), ChosenRows(rows([0, 1, 2], first=10), [2, 0])])
    assert [joined[place] for place in range(4)] == [
        {"value": 0, "labels": 5},
        {"value": 1, "labels": 6},
        {"value": 12, "labels": 2},
        {"value": 10, "labels": 0},
    ]
    assert [joined.label(place) for place in range(4)] == [5, 6, 2, 0]
    plain = JoinedRows([[{"labels": 4}], [{"labels": 3}]])
    assert [plain.label(0), plain.label(1)] == [4, 3]
    again = JoinedRows([rows([5, 6]), ChosenRows(rows([0, 1, 2], first=10), [2, 0])])
    other = JoinedRows([rows([5, 6]), ChosenRows(rows([0, 1, 2], first=10), [0, 2])])
    assert joined.fingerprint() == again.fingerprint() != other.fingerprint()


def test_few_old_rows_stand_behind_the_new_ones_and_a_balanced_sampler_evens_them_out():
    new, old = rows([2] * 30 + [3] * 20), rows([0] * 100 + [1] * 3, first=1000)
    mixed = replayed_rows(new, old, per_class=5, seed=0)
    assert len(mixed) == 50 + 8
    assert [mixed[place] for place in range(50)] == [new[place] for place in range(50)]
    classes = np.array(classes_of(mixed))
    assert np.bincount(classes).tolist() == [5, 3, 30, 20]
    balanced = ClassBalance(sampler="balanced").rows(mixed, classes, seed=0)
    found = [balanced[place] for place in range(len(balanced))]
    assert np.bincount([row["labels"] for row in found]).tolist() == [30, 30, 30, 30]
    values = {label: {row["value"] for row in found if row["labels"] == label} for label in range(4)}
    assert {label: len(own) for label, own in values.items()} == {0: 5, 1: 3, 2: 30, 3: 20}
    assert min(values[0] | values[1]) >= 1000


def test_only_training_rows_get_few_and_what_is_missing_is_told(tmp_path, caplog):
    labels = ["a"] * 60 + ["b"] * 10
    data = Dataset.from_dict({"text": [f"row {i}" for i in range(70)], "label": labels})
    DatasetDict(train=data).save_to_disk(tmp_path / "old")
    loaded = with_classes(load_data(tmp_path / "old"), ["a", "b", "c"])
    with caplog.at_level(logging.WARNING):
        few = with_few_rows(loaded, 20, seed=0)
    assert np.bincount(few.train["label"]).tolist() == [20, (np.array(loaded.train["label"]) == 1).sum()]
    assert "old has fewer than 20 rows to train on of 'b' (6), 'c' (0): all are taken." in caplog.text
    assert few.test is loaded.test
    assert few.validation is loaded.validation
    assert [data["text"][place] for place in few.given_rows["train"]] == list(few.train["text"])
