import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from hf_transfer_kit.data import load_data
from hf_transfer_kit.data.row_choice import ROW, numbered_rows
from hf_transfer_kit.errors import DataError, SettingsError

FEATURES = Features(
    {
        "text": Value("string"),
        "speaker": Value("string"),
        "take": Value("int64"),
        "label": ClassLabel(names=["no", "yes"]),
    }
)


def spoken(rows: int = 60) -> Dataset:
    """Three speakers in turn, two takes of 30 rows each, labels in turn."""
    return Dataset.from_dict(
        {
            "text": [f"text {row}" for row in range(rows)],
            "speaker": [("ann", "bob", "eve")[row % 3] for row in range(rows)],
            "take": [row // 30 for row in range(rows)],
            "label": [row % 2 for row in range(rows)],
        },
        features=FEATURES,
    )


def test_rows_have_one_of_the_values_in_each_column_and_keep_their_places():
    rows = numbered_rows({"train": spoken()}, {"speaker": ["ann", "eve"], "take": [1]})["train"]
    assert rows[ROW][:] == [row for row in range(30, 60) if row % 3 != 1]
    assert rows["text"][:] == [f"text {row}" for row in rows[ROW]]
    assert numbered_rows({"train": spoken(5)})["train"][ROW][:] == [0, 1, 2, 3, 4]


def test_numbers_count_as_text_and_classes_by_name():
    assert len(numbered_rows({"train": spoken()}, {"take": ["0"]})["train"]) == 30
    assert set(numbered_rows({"train": spoken()}, {"label": ["yes"]})["train"]["label"]) == {1}
    with pytest.raises(DataError, match="The values there are 'no', 'yes'"):
        numbered_rows({"train": spoken()}, {"label": ["1"]})


def test_every_split_is_chosen_from_before_rows_are_split(tmp_path):
    spoken().to_parquet(tmp_path / "train.parquet")
    spoken(30).to_parquet(tmp_path / "test.parquet")
    data = load_data(tmp_path, input_column="text", keep_rows={"speaker": ["bob"], "take": ["0"]})
    assert data.sizes() == {"train": 8, "validation": 2, "test": 10}
    places = [int(text.split()[1]) for split in data.sizes() for text in getattr(data, split)["text"]]
    assert {place % 3 for place in places} == {1}
    assert max(places) < 30
    assert set(data.train.column_names) == {"text", "label"}


def test_messages_call_a_row_by_its_place_among_all_rows(tmp_path):
    data = spoken().to_dict()
    data["text"][31] = " "
    Dataset.from_dict(data, features=FEATURES).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DataError, match="Row 31 of train cannot be read"):
        load_data(tmp_path, input_column="text", keep_rows={"take": ["1"]}, validation_size=4, test_size=4)
    data["label"][31] = -1
    Dataset.from_dict(data, features=FEATURES).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DataError, match="Row 31 of train has the label -1"):
        load_data(tmp_path, input_column="text", keep_rows={"take": ["1"]})


def test_what_cannot_be_kept_is_a_sentence():
    with pytest.raises(DataError, match=r"names the column 'voice', but the columns are text, speaker, take, label\."):
        numbered_rows({"train": spoken()}, {"voice": ["ann"]})
    with pytest.raises(
        DataError,
        match=r"no row of test: none has 'eva', 'bo' in 'speaker'\. The values there are 'ann', 'bob', 'eve'; choose",
    ):
        numbered_rows({"test": spoken()}, {"speaker": ["eva", "bo"]})
    with pytest.raises(DataError, match=r"'text 26' and 40 more; choose"):
        numbered_rows({"train": spoken()}, {"text": ["text"]})
    with pytest.raises(DataError, match=r"none has 'eve' in 'speaker'\. The values there are 'ann', 'bob';"):
        numbered_rows({"train": spoken(4)}, {"label": ["no", "yes"], "text": ["text 0", "text 1"], "speaker": ["eve"]})
    with pytest.raises(SettingsError, match=r"is the text 'ann'; give a list of values: \['ann'\]"):
        numbered_rows({"train": spoken()}, {"speaker": "ann"})
    lists = Dataset.from_dict({"tags": [[1], [2]]}, features=Features({"tags": Sequence(Value("int64"))}))
    with pytest.raises(DataError, match="compares values as text, but 'tags' holds List"):
        numbered_rows({"train": lists}, {"tags": ["1"]})
