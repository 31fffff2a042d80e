"""A source: inputs and labels of a row apart, and columns that must be there."""

import pytest
from datasets import Dataset
from row_recorder import collator, numbered, two_sources
from torch.utils.data import DataLoader

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.multitask import MultiTaskDataset, Source


def test_rows_hold_inputs_and_labels_apart():
    data = Dataset.from_dict({"x": [1.0, 2.0], "label": [0, 1], "score": [0.5, None], "text": ["u", "v"]})
    source = Source(data, {"a": "score", "b": "label"}, "grey", columns=["x"])
    assert [tuple(row) for row in source.__getitems__([1, 0])] == [
        ("grey", {"x": 2.0}, {"a": None, "b": 1}),
        ("grey", {"x": 1.0}, {"a": 0.5, "b": 0}),
    ]
    assert set(Source(data, {"a": "score"})[0].values) == {"x", "text"}
    assert MultiTaskDataset({"s": source}).tasks == ("a", "b")


def test_a_source_alone_is_read_in_its_own_order():
    loader = DataLoader(two_sources()["second"], batch_size=3, collate_fn=collator())
    batches = list(loader)
    assert [batch["default__x"].tolist() for batch in batches] == [[100, 101, 102], [103, 104]]
    assert [batch["b__rows"].tolist() for batch in batches] == [[0, 1, 2], [0, 1]]


def test_columns_that_are_missing_are_sentences():
    with pytest.raises(DataError, match="There is no column 'value', named for the labels of a; the columns are x"):
        Source(numbered(2), {"a": "value"})
    with pytest.raises(DataError, match=r"There is no column 'z', named for columns=\['z'\]"):
        Source(Dataset.from_list(numbered(2)), {}, columns=["z"])
    with pytest.raises(DataError, match="There is no column 'value'"):
        Source([*numbered(1, value=1), {"x": 2.0}], {"a": "value"})[1]
