"""Attribute tables: read, checked, joined, and what they cannot tell."""

import numpy as np
import pytest
from datasets import Dataset

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.zero_shot import AttributeTable, digit_strokes

ANIMALS = {"cat": {"stripes": 0, "paws": 1}, "zebra": {"stripes": 1, "paws": 0}}


def test_all_sources_give_the_same_table(tmp_path):
    rows = Dataset.from_dict({"class": ["cat", "zebra"], "stripes": [0, 1], "paws": [1, 0]})
    rows.to_csv(tmp_path / "table.csv")
    rows.to_parquet(tmp_path / "table.parquet")
    tables = [
        AttributeTable.of(source) for source in (ANIMALS, rows, tmp_path / "table.csv", str(tmp_path / "table.parquet"))
    ]
    for table in [*tables, AttributeTable.of(tables[0]), AttributeTable.from_dict(tables[0].to_dict())]:
        assert (table.classes, table.attributes) == (("cat", "zebra"), ("stripes", "paws"))
        assert table.values.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert AttributeTable.of({"a": [1, 2], "b": [0, 3]}).attributes == ("attribute 0", "attribute 1")


def test_rows_are_looked_up_by_name():
    table = AttributeTable.of(ANIMALS)
    assert table.rows(["zebra", "cat", "zebra"]).tolist() == [[1, 0], [0, 1], [1, 0]]
    assert table.select(["zebra"]).classes == ("zebra",)
    with pytest.raises(DataError, match="'wolf' has no row in the table, which describes 'cat', 'zebra'"):
        table.rows(["wolf"])


def test_a_joined_table_follows_names_not_places():
    other = AttributeTable.of({"wolf": {"paws": 1, "stripes": 0.5}, "cat": {"paws": 0.9, "stripes": 0}})
    joined = AttributeTable.of(ANIMALS).joined(other)
    assert joined.classes == ("cat", "zebra", "wolf")  # old ones keep their places
    assert joined.rows(["wolf", "cat", "zebra"]).tolist() == [[0.5, 1.0], [0.0, 0.9], [1.0, 0.0]]
    assert AttributeTable.of(ANIMALS).joined(other, replace=True).classes == ("wolf", "cat")
    with pytest.raises(DataError, match="only in the first: 'paws'; only in the second: 'wings'"):
        AttributeTable.of(ANIMALS).joined(AttributeTable.of({"owl": {"stripes": 1, "wings": 1}}))


def test_missing_values_are_refused_or_filled_with_the_mean():
    source = {"a": [1, None], "b": [0, 2], "c": [0, 4]}
    with pytest.raises(DataError, match=r"'attribute 1' of 'a' is nan\. Give a finite number, or fill"):
        AttributeTable.of(source)
    assert AttributeTable.of(source, missing="mean").rows(["a"]).tolist() == [[1.0, 3.0]]
    with pytest.raises(DataError, match="'attribute 0' is missing for every class"):
        AttributeTable.of({"a": [None, 1], "b": [None, 2]}, missing="mean")
    with pytest.raises(DataError, match="'a' has no value at all"):
        AttributeTable.of({"a": [None, None], "b": [1, 2]}, missing="mean")
    with pytest.raises(SettingsError, match="missing='guess' is unknown"):
        AttributeTable.of(source, missing="guess")


def test_what_a_table_cannot_tell():
    table = AttributeTable.of({"a": [1, 0, 1], "b": [1, 0, 1], "c": [1, 1, 0]})
    equal, same = table.findings()
    assert equal.startswith("'a' and 'b' have equal rows, so nothing can tell them apart")
    assert same.startswith("'attribute 0' is the same for every class")
    (several,) = AttributeTable.of({"a": [1, 0, 1], "b": [1, 0, 0]}).findings()
    assert several.startswith("'attribute 0', 'attribute 1' are the same for every class and tell nothing.")
    assert digit_strokes().findings() == ()
    assert len(digit_strokes()) == 10


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "The table is empty"),
        ({"a": [1], "b": [1, 2]}, "different numbers of values"),
        ({"a": {"x": 1}, "b": {"y": 1}}, "'b' and 'a' have different attributes: 'x', 'y'"),
        ({"a": [1, 0], "b": [0, 0]}, "All attributes of 'b' are 0"),
        ({"a": ["yes"], "b": [1]}, "'attribute 0' of 'a' is 'yes', but attributes are numbers"),
        ({"a": [float("inf")], "b": [1]}, "'attribute 0' of 'a' is inf"),
        (Dataset.from_dict({"class": ["a", "a"], "x": [1, 2]}), "The class 'a' stands twice"),
        (Dataset.from_dict({"x": [1, 2]}), "No column holds names of classes; the columns are 'x'"),
        ("nothing.csv", "nothing.csv is no table"),
    ],
)
def test_what_is_no_table_is_a_sentence(source, message):
    with pytest.raises(DataError, match=message):
        AttributeTable.of(source)


def test_shapes_and_columns_are_checked():
    with pytest.raises(DataError, match=r"1 classes and 2 attributes, but values of shape \(2, 2\)"):
        AttributeTable(("a",), ("x", "y"), np.ones((2, 2)))
    with pytest.raises(DataError, match="no column 'name'; the columns are 'class', 'x'"):
        AttributeTable.of(Dataset.from_dict({"class": ["a"], "x": [1]}), class_column="name")


CLASSES = [f"animal {row}" for row in range(9)]


@pytest.mark.parametrize("name", ["Unnamed: 0", "id", "index", "anything"])
def test_a_column_that_numbers_the_rows_is_no_attribute(tmp_path, name, said):
    frame = {name: list(range(9)), "name": CLASSES, "stripes": [0, 1, 1] * 3, "legs": [2, 4, 4, 6, 4, 2, 1, 4, 8]}
    Dataset.from_dict(frame).to_csv(tmp_path / "a.csv")
    table = AttributeTable.of(tmp_path / "a.csv")
    assert table.attributes == ("stripes", "legs")
    assert "number its rows and are left out" in said()


def test_a_short_row_of_numbers_is_an_attribute():
    table = AttributeTable.of(Dataset.from_dict({"name": CLASSES[:3], "legs": [1, 2, 3], "id": [5, 5, 6]}))
    assert table.attributes == ("legs", "id")


def test_a_value_for_unknown_is_told_or_filled():
    rows = {"name": CLASSES[:4], "stripes": [0, 1, -1, 1], "fur": [1, 0, 1, 1]}
    (finding,) = AttributeTable.of(Dataset.from_dict(rows)).findings()
    assert "'stripes' holds -1 beside 0 and 1, taken as a value" in finding
    table = AttributeTable.of(Dataset.from_dict(rows), unknown=-1, missing="mean")
    assert table.values[2, 0] == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="'stripes' of 'animal 2' is nan"):
        AttributeTable.of(Dataset.from_dict(rows), unknown=-1)
    signed = {"name": CLASSES[:4], "stripes": [-1, 1, -1, 1], "fur": [1, -1, -1, 1]}
    assert AttributeTable.of(Dataset.from_dict(signed)).findings() == ()


def test_a_column_in_another_unit_is_told():
    rows = {"name": CLASSES, "stripes": [0, 1, 1] * 3, "fur": [1, 0, 1] * 3, "grams": [100 * row for row in range(9)]}
    (finding,) = AttributeTable.of(Dataset.from_dict(rows)).findings()
    assert "'grams' is in a unit of its own" in finding
