"""Packed batches: rows once, each input padded by its own collator, labels where they belong."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate
from transformers import BertTokenizer, DataCollatorWithPadding

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask import MultiTaskCollator, TaskRow

NAN = float("nan")
TASKS = {
    "topic": {"type": "classification", "num_labels": 3, "input": "words"},
    "tags": {"type": "multi_label", "num_labels": 2, "input": "words"},
    "names": {"type": "token_classification", "num_labels": 4, "input": "words"},
    "score": {"type": "regression", "num_labels": 1, "input": "grey"},
    "spelling": {"type": "ctc", "num_labels": 30, "input": "grey"},
}


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two"]))
    return BertTokenizer(str(tmp_path / "vocab.txt"))


def _tokens(*ids):
    return {"input_ids": list(ids), "attention_mask": [1] * len(ids)}


def _rows():
    return [
        TaskRow("words", _tokens(2, 5, 3), {"topic": 1, "tags": [1, 0]}),
        TaskRow("grey", {"pixel_values": torch.ones(1, 2)}, {"score": 0.5, "spelling": [4, 5, 6]}),
        TaskRow("words", _tokens(2, 5, 6, 5, 3), {"names": [-100, 0, 3, 1, -100], "topic": None}),
        TaskRow("words", _tokens(2, 6, 6, 3), {"topic": 2, "tags": None, "names": [-100, 2, 2, -100]}),
        TaskRow("grey", {"pixel_values": torch.zeros(1, 2)}, {"score": NAN, "spelling": [7]}),
    ]


def test_a_packed_batch_equals_one_written_by_hand(tokenizer):
    collate = MultiTaskCollator({"words": DataCollatorWithPadding(tokenizer), "grey": default_collate}, TASKS)
    batch = collate(_rows())
    expected = {
        "words__input_ids": [[2, 5, 3, 0, 0], [2, 5, 6, 5, 3], [2, 6, 6, 3, 0]],
        "words__attention_mask": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]],
        "grey__pixel_values": [[[1.0, 1.0]], [[0.0, 0.0]]],
        "topic__rows": [0, 2],
        "topic__labels": [1, 2],
        "tags__rows": [0],
        "tags__labels": [[1.0, 0.0]],
        "names__rows": [1, 2],
        "names__labels": [[-100, 0, 3, 1, -100], [-100, 2, 2, -100, -100]],
        "score__rows": [0],
        "score__labels": [0.5],
        "spelling__rows": [0, 1],
        "spelling__labels": [[4, 5, 6], [7, -100, -100]],
    }
    assert {name: value.tolist() for name, value in batch.items()} == expected
    real = {"grey__pixel_values", "tags__labels", "score__labels"}
    assert {name: value.dtype for name, value in batch.items()} == {
        name: torch.float32 if name in real else torch.int64 for name in expected
    }


def test_labels_of_a_single_task_stand_where_trainer_looks_for_them():
    collate = MultiTaskCollator(
        {"default": default_collate}, {"t": {"type": "regression"}, "u": {"type": "regression"}}
    )
    one = TaskRow("default", {"x": 0.0}, {"t": 1.0, "u": None})
    assert collate([one])["labels"].tolist() == collate([one])["t__labels"].tolist() == [1.0]
    assert "labels" not in collate([one, TaskRow("default", {"x": 0.0}, {"u": 2.0})])


def test_labels_of_tokens_stand_where_tokens_stand_under_padding_on_the_left(tokenizer):
    tokenizer.padding_side = "left"
    collate = MultiTaskCollator({"words": DataCollatorWithPadding(tokenizer)}, {"names": {**TASKS["names"]}})
    rows = [TaskRow("words", _tokens(5), {"names": [1]}), TaskRow("words", _tokens(5, 6, 5), {"names": [2, -100, 3]})]
    assert collate(rows)["names__labels"].tolist() == [[-100, -100, 1], [2, -100, 3]]


def test_rows_padded_before_keep_their_labels():
    collate = MultiTaskCollator({"words": default_collate}, {"names": {"type": "token_classification"}})
    row = {"input_ids": torch.tensor([5, 6, 0]), "attention_mask": torch.tensor([1, 1, 0])}
    batch = collate([TaskRow("words", row, {"names": torch.tensor([3, 1, -100])})])
    assert batch["names__labels"].tolist() == [[3, 1, -100]]


def test_labels_of_frames_are_padded_to_the_longest():
    collate = MultiTaskCollator({"waves": default_collate}, {"frames": {"type": "token_classification"}})
    rows = [TaskRow("waves", {"wave": torch.zeros(8)}, {"frames": frames}) for frames in ([1], [2, 0])]
    assert collate(rows)["frames__labels"].tolist() == [[1, -100], [2, 0]]


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("classification", [None, -100, NAN, -1, np.int64(-100), torch.tensor(-100)]),
        ("regression", [None, NAN, torch.tensor(NAN)]),
        ("multi_label", [None, [-100, -100], [NAN, NAN], torch.tensor([NAN, NAN])]),
        ("token_classification", [None, [-100, -100], -100]),
        ("ctc", [None, -100]),
    ],
)
def test_missing_labels_are_left_out_and_their_rows_stay(kind, missing):
    whole = {
        "classification": 1,
        "regression": 0.5,
        "multi_label": [1, 0],
        "token_classification": [1, 0],
        "ctc": [1, 2],
    }
    collate = MultiTaskCollator({"default": default_collate}, {"t": {"type": kind}})
    rows = [TaskRow("default", {"x": float(i)}, {"t": label}) for i, label in enumerate([*missing, whole[kind]])]
    batch = collate(rows)
    assert batch["default__x"].tolist() == list(range(len(rows)))
    assert batch["t__rows"].tolist() == [len(missing)]
    assert batch["t__labels"].tolist() == [whole[kind]]
    assert set(collate(rows[:-1])) == {"default__x"}


def test_minus_a_hundred_is_a_number_like_any():
    collate = MultiTaskCollator({"default": default_collate}, {"t": {"type": "regression"}})
    rows = [TaskRow("default", {"x": 0.0}, {"t": -100.0}), TaskRow("default", {"x": 1.0}, {"t": None})]
    assert collate(rows)["t__labels"].tolist() == [-100.0]


def test_no_sound_is_a_transcript_and_minus_one_is_a_number():
    collate = MultiTaskCollator({"default": default_collate}, {"t": {"type": "ctc"}, "u": {"type": "regression"}})
    rows = [TaskRow("default", {"x": 0.0}, {"t": [], "u": -1.0}), TaskRow("default", {"x": 1.0}, {"t": [3], "u": 0})]
    batch = collate(rows)
    assert batch["t__labels"].tolist() == [[-100], [3]]
    assert batch["u__labels"].tolist() == [-1.0, 0.0]


def test_several_numbers_may_be_predicted():
    collate = MultiTaskCollator({"default": default_collate}, {"t": {"type": "regression", "num_labels": 2}})
    assert collate([TaskRow("default", {"x": 0.0}, {"t": [0.5, 2]})])["t__labels"].tolist() == [[0.5, 2.0]]
    with pytest.raises(DataError, match=r"t needs 2 finite numbers for each row, but its labels are 0\.5"):
        collate([TaskRow("default", {"x": 0.0}, {"t": 0.5})])


def test_the_input_with_most_rows_comes_first():
    collate = MultiTaskCollator(
        {"few": default_collate, "many": default_collate}, {"t": {"type": "ctc", "input": "few"}}
    )
    batch = collate([TaskRow(name, {"x": 0.0}, {}) for name in ("few", "many", "many")])
    assert list(batch) == ["many__x", "few__x"]


@pytest.mark.parametrize(
    ("kind", "classes", "labels", "words"),
    [
        (
            "classification",
            3,
            [0, 3],
            "A label of t is 3, but labels must be its 3 classes, 0 to 2. Correct it, or mark",
        ),
        ("classification", None, [0.5], "A label of t is 0.5, but labels must be whole numbers from 0"),
        (
            "classification",
            3,
            [[1, 2]],
            r"t needs one class index, or 3 finite logits, for each row, but its labels are \[1",
        ),
        ("classification", 3, ["cat"], "A label of t is 'cat', but labels must be numbers"),
        ("classification", None, [-7], "A label of t is -7"),
        ("regression", 1, [[1.0, NAN]], "t needs a finite number for each row"),
        ("regression", None, [1.0, [1.0, 2.0]], "t needs a finite number for each row"),
        ("multi_label", 2, [[1, 0, 1]], "t needs 2 numbers from 0 to 1 for each row"),
        ("multi_label", None, [[1, 0], [1]], "t needs 2 numbers from 0 to 1 for each row"),
        ("multi_label", 2, [[1, 2]], "t needs 2 numbers from 0 to 1 for each row"),
        ("token_classification", 2, [1], "t needs a class index for each token of a row"),
        ("token_classification", 2, [[0, 5]], "A label of t is 5, but labels must be its 2 classes"),
        ("ctc", 9, [[3, 9]], "A label of t is 9"),
        ("ctc", 9, [3], "t needs a list of token indices for each row"),
    ],
)
def test_labels_that_do_not_fit_are_sentences(kind, classes, labels, words):
    collate = MultiTaskCollator({"default": default_collate}, {"t": {"type": kind, "num_labels": classes}})
    with pytest.raises(DataError, match=words):
        collate([TaskRow("default", {"x": 0.0}, {"t": label}) for label in labels])


def test_labels_that_do_not_fit_their_tokens_are_a_sentence(tokenizer):
    collate = MultiTaskCollator(
        {"words": DataCollatorWithPadding(tokenizer)},
        TASKS | {n: TASKS[n] | {"input": "words"} for n in ("score", "spelling")},
    )
    rows = [TaskRow("words", _tokens(5, 6, 5), {"names": [1, 1, 1]}), TaskRow("words", _tokens(5, 6), {"names": [1]})]
    with pytest.raises(DataError, match=r"A row has 1 labels of names for 2 tokens, .* -100 for special tokens"):
        collate(rows)


def test_rows_that_fit_no_task_or_input_are_sentences():
    collate = MultiTaskCollator({"words": default_collate, "grey": default_collate}, TASKS)
    for row, words in (
        ({"x": 0.0, "label": 1}, r"packs rows of a Source, but got a dict. Wrap the dataset"),
        (TaskRow("colour", {"x": 0.0}, {}), "input 'colour', which has no collator; there are those of words, grey"),
        (
            TaskRow("words", {"x": 0.0}, {"mood": 1}),
            "labelled for mood, which is no task of the model; its tasks are topic",
        ),
        (
            TaskRow("words", {"x": 0.0}, {"score": 1}),
            "row labelled for score goes into the input 'words', but the task reads 'grey'",
        ),
    ):
        with pytest.raises(DataError, match=words):
            collate([row])


def test_settings_that_do_not_fit_are_sentences():
    with pytest.raises(SettingsError, match="collators must name one for each input"):
        MultiTaskCollator(default_collate, TASKS)
    with pytest.raises(
        SettingsError, match="score reads the input 'grey', which has no collator; there are those of words"
    ):
        MultiTaskCollator({"words": default_collate}, TASKS)
    with pytest.raises(
        SettingsError, match="t has type='seq2seq', which is unknown; choose classification, multi_label"
    ):
        MultiTaskCollator({"default": default_collate}, {"t": {"type": "seq2seq"}})
    collate = MultiTaskCollator({"default": default_collate}, {"default": {"type": "regression"}})
    with pytest.raises(
        SettingsError, match="collator of the input 'default' makes 'labels', a name that belongs to tasks"
    ):
        collate([TaskRow("default", {"x": 1.0, "labels": 1}, {})])
