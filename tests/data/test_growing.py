"""Classes counted behind those that a network knows: by name, never by number; what is doubtful is told."""

import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from hf_transfer_kit import load_data
from hf_transfer_kit.data.growing import classes_to_add, with_classes
from hf_transfer_kit.errors import DataError

OLD = ("cat", "dog", "fox")


@pytest.fixture
def loaded(tmp_path):
    """Classes of 12 texts each -> the data, in three splits."""

    def load(labels, feature=None):
        values = [label for label in labels for _ in range(12)]
        rows = Dataset.from_dict({"text": [f"row {i}" for i in range(len(values))], "label": values})
        DatasetDict(train=rows if feature is None else rows.cast_column("label", feature)).save_to_disk(
            tmp_path / "data"
        )
        return load_data(tmp_path / "data")

    return load


def test_known_classes_keep_their_place_whatever_their_number_in_the_data(loaded):
    data = loaded([0, 1, 2], ClassLabel(names=["owl", "dog", "ant"]))
    new = classes_to_add(OLD, data)
    assert new == ("owl", "ant")
    grown = with_classes(data, (*OLD, *new))
    assert grown.label_names == ("cat", "dog", "fox", "owl", "ant")
    for split in ("train", "validation", "test"):
        before, after = getattr(data, split), getattr(grown, split)
        names = [data.label_names[label] for label in before["label"]]
        assert [grown.label_names[label] for label in after["label"]] == names
        assert after["text"] == before["text"]
    assert set(grown.train["label"]) == {1, 3, 4}


def test_numbers_are_no_names_where_they_could_be_taken_for_old_classes(loaded):
    with pytest.raises(DataError, match=r"The labels of data are numbers, 1, 2 among them, and classes of the network"):
        classes_to_add(("0", "1", "2"), loaded([1, 2, 3]))
    assert classes_to_add(("0", "1", "2"), loaded([5, 6])) == ("5", "6")
    assert classes_to_add(("0", "1", "2"), loaded(["1", "2", "3"])) == ("3",)  # texts are names


def test_what_is_doubtful_or_nothing_new_is_refused(loaded):
    with pytest.raises(DataError, match="the class 'Dog' and the network the class 'dog': one class in two spellings"):
        classes_to_add(OLD, loaded(["Dog", "owl"]))
    with pytest.raises(DataError, match=r"data has no class that the network does not know \(cat, dog, fox\)"):
        classes_to_add(OLD, loaded(["dog", "fox"]))
    with pytest.raises(DataError, match="data has the class 'owl', which is none of cat, dog, fox"):
        with_classes(loaded(["dog", "owl"]), OLD)
