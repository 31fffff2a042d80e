"""Labels of other kinds than one class a row, loaded, split and prepared."""

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers import BertTokenizerFast, ViTImageProcessor

from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.data.columns import Columns, find_columns
from hf_transfer_kit.data.label_kinds import BLANK, CLASSIFICATION, LABEL_KINDS, renamed
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.task_types import TASK_TYPES

TAGS = ClassLabel(names=["O", "B-x", "I-x"])
WORDS = ["aa", "b", "cccc", "dd"]


@pytest.fixture
def folder(tmp_path):
    """A folder of 40 training and 10 test rows with labels of every kind."""

    def split(count):
        words = [[WORDS[(row + place) % 4] for place in range(1 + row % 3)] for row in range(count)]
        return Dataset.from_dict(
            {
                "text": [" ".join(row) for row in words],
                "words": words,
                "tags": [[(row + place) % 3 for place in range(len(of_row))] for row, of_row in enumerate(words)],
                "score": [row / 10 for row in range(count)],
                "topics": [["cat", "dog"][: row % 3] for row in range(count)],
                "label": [row % 2 for row in range(count)],
                "said": [["yes", "no"][row % 2] for row in range(count)],
            },
            features=Features(
                {
                    "text": Value("string"),
                    "words": List(Value("string")),
                    "tags": List(TAGS),
                    "score": Value("float32"),
                    "topics": List(Value("string")),
                    "label": ClassLabel(names=["even", "odd"]),
                    "said": Value("string"),
                }
            ),
        )

    DatasetDict(train=split(40), test=split(10)).save_to_disk(tmp_path / "rows")
    return tmp_path / "rows"


@pytest.fixture
def tokenizer(tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "b", "c", "##c", "d", "##d"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    return BertTokenizerFast(str(tmp_path / "vocab.txt"))


def test_numbers(folder, tokenizer):
    data = load_data(folder, input_column="text", label_column="score", task_type="regression")
    assert (data.task_type, data.label_names, data.sizes()["test"]) == ("regression", (), 10)
    assert data.labelled_splits == ("train", "validation", "test")
    prepared = prepare_data(data, tokenizer)
    assert prepared.task_type == "regression"
    assert prepared.test.label(3) == pytest.approx(0.3)
    labels = prepared.collator([prepared.test[row] for row in range(3)])["labels"]
    assert labels.dtype == torch.float32
    assert labels.tolist() == pytest.approx([0.0, 0.1, 0.2])


def test_several_classes_a_row(folder, tokenizer):
    data = load_data(folder, input_column="text", label_column="topics", task_type="multi_label")
    assert data.label_names == ("cat", "dog")
    prepared = prepare_data(data, tokenizer)
    assert [prepared.test.label(row) for row in range(3)] == [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    assert prepared.collator([prepared.test[1]])["labels"].tolist() == [[1.0, 0.0]]


def test_a_class_for_each_word_stands_at_its_first_piece(folder, tokenizer):
    data = load_data(folder, label_column="tags", task_type="token_classification")
    assert (data.input_columns, data.label_names) == (("words",), ("O", "B-x", "I-x"))
    prepared = prepare_data(data, tokenizer)
    for row in range(10):
        said = [label for label in prepared.test.label(row) if label != -100]
        assert said == data.test[row]["tags"]
        pieces = tokenizer(data.test[row]["words"], is_split_into_words=True)
        assert len(prepared.test.label(row)) == len(pieces["input_ids"])
        firsts = [place for place, label in enumerate(prepared.test.label(row)) if label != -100]
        assert [pieces.word_ids()[place] for place in firsts] == list(range(len(said)))
        assert all(pieces.word_ids()[place] != pieces.word_ids()[place - 1] for place in firsts)
    batch = prepared.collator([prepared.test[row] for row in range(3)])
    assert batch["labels"].shape[0] == 3
    assert batch["labels"].dtype == torch.int64


def test_transcripts_are_spelled(folder):
    data = load_data(folder, input_column="text", label_column="said", task_type="ctc")
    assert data.label_names == (BLANK, "e", "n", "o", "s", "y")
    assert data.test[0]["said"] == [5, 1, 4]
    spelled = load_data(
        folder, input_column="text", label_column="label", task_type="ctc", rename_classes={"even": "a", "odd": "ab"}
    )
    assert spelled.label_names == (BLANK, "a", "b")
    assert [spelled.test[row]["label"] for row in range(2)] == [[1], [1, 2]]


def test_the_column_of_transcripts_is_found_by_its_name():
    rows = {"audio": [{"bytes": b"", "path": None}], "text": ["yes"], "label": ["a"]}
    data = Dataset.from_dict(rows)
    assert find_columns(data, transcripts=True) == Columns(("audio",), "text", "audio")
    assert find_columns(data).label == "label"
    assert find_columns(data, transcripts=True, label_column="label").label == "label"
    assert find_columns(data, transcripts=True, input_column="text").label == "label"
    assert (CLASSIFICATION, *LABEL_KINDS) == TASK_TYPES


def test_classes_are_renamed():
    assert renamed(("a", "b"), None) == ("a", "b")
    assert renamed(("a", "b"), {"b": "c"}) == ("a", "c")
    assert renamed(("0", "1"), ["zero", "one"]) == ("zero", "one")
    with pytest.raises(SettingsError, match="3 new names are given for 2 classes"):
        renamed(("a", "b"), ["x", "y", "z"])
    with pytest.raises(SettingsError, match="no class z to rename; there are a, b"):
        renamed(("a", "b"), {"z": "y"})
    with pytest.raises(SettingsError, match="Two classes would have one name: b, b"):
        renamed(("a", "b"), {"a": "b"})


def test_the_same_rows_are_labelled_for_several_tasks(folder, tokenizer):
    data = load_data(folder, input_column="text", label_column="label", keep_columns=["score", "said", "tags", "words"])
    score = data.relabelled("score", "regression")
    assert score.train["text"][:] == data.train["text"][:]
    prepared = prepare_data(data, tokenizer)
    scores = prepared.relabelled(score)
    assert scores.train.values is prepared.train.values
    assert [scores.test.label(row) for row in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert prepared.test.label(1) == 1
    said = data.relabelled("said", rename_classes=["no!", "yes!"])
    assert (said.task_type, said.label_names) == ("classification", ("no!", "yes!"))
    assert prepared.relabelled(said).test.label(0) == 1
    with pytest.raises(DataError, match="was loaded without the column 'topics'"):
        data.relabelled("topics", "multi_label")
    words = load_data(folder, label_column="tags", task_type="token_classification")
    with pytest.raises(DataError, match="needs a preparation of its own"):
        prepared.relabelled(words)


def test_pictures_may_be_grey():
    processor = ViTImageProcessor(
        size={"height": 28, "width": 28}, image_mean=[0.2, 0.4, 0.6], image_std=[0.5, 0.5, 0.2]
    )
    data = load_data("digits", keep_columns=["parity", "ink"])
    prepared = prepare_data(data, processor, channels=1)
    batch = prepared.collator([prepared.test[row] for row in range(2)])["pixel_values"]
    assert batch.shape == (2, 1, 28, 28)
    raw = torch.stack([prepared.test[row]["pixel_values"] for row in range(2)]).float() / 255
    assert torch.allclose(batch, (raw - 0.4) / 0.4, atol=1e-5)
    colour = prepare_data(data, processor)
    with pytest.raises(SettingsError, match=r"channels=1 was given, but what digits must be prepared like"):
        prepare_data(data, processor, channels=1, like=colour)
    with pytest.raises(SettingsError, match="channels=2: pictures have 1"):
        prepare_data(data, processor, channels=2)
    parity = data.relabelled("parity")
    assert parity.label_names == ("even", "odd")
    digits = np.array(data.test["label"])
    assert parity.test["parity"][:] == (digits % 2).tolist()
    ink = np.array(data.test["ink"])
    assert 0 < ink.min() < ink.max() < 1


@pytest.mark.parametrize(
    ("column", "task_type", "message"),
    [
        ("said", "regression", "holds string, but regression needs a number"),
        ("score", "multi_label", "holds float32, but several classes a row are lists"),
        ("score", "ctc", "holds float32, but ctc needs texts"),
        ("score", "ranking", "task_type='ranking' is unknown; choose classification, regression"),
        ("nothing", "regression", "no column 'nothing' for the label"),
    ],
)
def test_labels_of_another_kind_are_sentences(folder, column, task_type, message):
    with pytest.raises((DataError, SettingsError), match=message):
        load_data(folder, input_column="text", label_column=column, task_type=task_type)


def test_further_sentences(folder, tmp_path):
    with pytest.raises(DataError, match=r"no column 'other'; the columns are"):
        load_data(folder, input_column="text", keep_columns=["other"])
    with pytest.raises(SettingsError, match="Rows without labels are known for classification alone"):
        load_data(folder, input_column="text", label_column="score", task_type="regression", labelled=False)
    with pytest.raises(SettingsError, match="renames classes of classification and ctc"):
        load_data(folder, input_column="text", label_column="score", task_type="regression", rename_classes=["a"])
    for name, values in (("nan", [1.0, float("nan")] * 10), ("none", [1.0, None] * 10)):
        Dataset.from_dict({"text": ["a"] * 20, "y": values}).save_to_disk(tmp_path / name)
        with pytest.raises(DataError, match=r"Row 1 of train has (nan|None) in 'y', no finite number"):
            load_data(tmp_path / name, label_column="y", task_type="regression")
    rows = {"words": [["a", "b"], ["c"]] * 10, "tags": [["O", "O"], ["O", "O"]] * 10}
    Dataset.from_dict(rows).save_to_disk(tmp_path / "short")
    with pytest.raises(DataError, match="Row 1 of train has 2 classes in 'tags' for 1 words"):
        load_data(tmp_path / "short", label_column="tags", task_type="token_classification")
    Dataset.from_dict({"text": ["a"] * 20, "said": ["x", ""] * 10}).save_to_disk(tmp_path / "silent")
    with pytest.raises(DataError, match="Row 1 of train has no transcript"):
        load_data(tmp_path / "silent", input_column="text", label_column="said", task_type="ctc")


def test_several_columns_of_numbers(tmp_path, tokenizer):
    rows = {"text": WORDS * 5, "width": list(range(20)), "price": [None, *[1000.5 * n for n in range(1, 20)]]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "rows.parquet")
    data = load_data(
        tmp_path / "rows.parquet", input_column="text", label_column="width, price", task_type="regression"
    )
    assert data.label_names == ("width", "price")
    prepared = prepare_data(data, tokenizer)
    assert prepared.train.classes.shape == (len(data.train), 2)
    found = np.concatenate([getattr(prepared, split).classes for split in ("train", "validation", "test")])
    assert sorted(found[:, 0]) == list(range(20))
    assert np.isnan(found[found[:, 0] == 0, 1]).all()
    assert found[found[:, 0] == 3, 1] == 3001.5
    again = load_data(tmp_path / "rows.parquet", input_column="text", label_column="width",
                      keep_columns=["width,price"], task_type="regression")  # fmt: skip
    assert again.relabelled("width,price", "regression").label_names == ("width", "price")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([[1.0, 2.0], [1.0]], "Row 1 of train has \\[1.0\\] in 'size', but each row needs 2 finite numbers"),
        ([[1.0, 2.0], [None, None]], "Row 1 of train has \\[None, None\\]"),
        ([[1.0, 2.0], [1.0, float("inf")]], "Row 1 of train has \\[1.0, inf\\]"),
    ],
)
def test_lists_of_numbers_that_do_not_fit_are_refused(tmp_path, values, sentence):
    Dataset.from_dict({"text": WORDS[:2] * 5, "size": values * 5}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=sentence):
        load_data(tmp_path / "rows.parquet", input_column="text", label_column="size", task_type="regression")


def test_a_column_that_is_no_number_is_not_joined(folder):
    with pytest.raises(DataError, match="There is no column 'score,said'"):
        load_data(folder, input_column="text", label_column="score,said", task_type="regression")
