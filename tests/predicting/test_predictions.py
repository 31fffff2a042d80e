"""Predictions as values: a data frame, csv, JSON lines and a table, each whole or not there."""

import csv
import json

import pytest
from predicting import saved_cases

from hf_transfer_kit import load_transferred
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.predicting import (
    ClassAnswer,
    LabelsAnswer,
    NumberAnswer,
    Predictions,
    SkippedRow,
    TextAnswer,
    WordsAnswer,
)

CAT = ClassAnswer("a, b.jpg", None, "cat", (("cat", 0.75), ("dog", 0.25)))
UNKNOWN = ClassAnswer("c.jpg", None, "unknown", (("dog", 0.5), ("cat", 0.5)), rejected=True)
OF_TASKS = (
    ClassAnswer(0, "topic", "x", (("x", 1.0),)),
    LabelsAnswer(0, "tags", ("p", "q"), (("p", 0.9), ("q", 0.6), ("r", 0.1))),
    NumberAnswer(0, "size", (("width", 1.5), ("height", -2.0))),
    WordsAnswer(0, "names", (("Rome", "B-LOC", 0.9), ("then", None, None))),
    TextAnswer(0, "said", "one"),
)


def test_csv_has_a_line_an_answer_and_a_column_for_each_further_class(tmp_path):
    Predictions((CAT, UNKNOWN)).save(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"row": "a, b.jpg", "label": "cat", "probability": "0.75", "label_2": "dog", "probability_2": "0.25", "nearest_known": ""},
            {"row": "c.jpg", "label": "unknown", "probability": "", "label_2": "cat", "probability_2": "0.5", "nearest_known": "dog"},
        ]  # fmt: skip


def test_json_lines_have_an_object_an_answer(tmp_path):
    Predictions(OF_TASKS).save(tmp_path / "p.jsonl")
    assert [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()] == [
        {"row": 0, "task": "topic", "label": "x", "probability": 1.0, "top": [{"label": "x", "probability": 1.0}]},
        {"row": 0, "task": "tags", "labels": ["p", "q"], "top": [{"label": n, "probability": v} for n, v in OF_TASKS[1].top]},
        {"row": 0, "task": "size", "values": {"width": 1.5, "height": -2.0}},
        {"row": 0, "task": "names", "words": [{"word": "Rome", "label": "B-LOC", "probability": 0.9}, {"word": "then", "label": None, "probability": None}]},
        {"row": 0, "task": "said", "text": "one"},
    ]  # fmt: skip


def test_a_data_frame_has_the_lines_of_the_csv(tmp_path):
    import pandas as pd

    found = Predictions(OF_TASKS)
    frame = found.to_pandas()
    assert frame[frame.task == "names"][["position", "word", "label"]].values.tolist()[0] == [0, "Rome", "B-LOC"]
    assert len(frame) == 6
    assert frame[frame.task == "size"].iloc[0][["value_width", "value_height"]].tolist() == [1.5, -2.0]
    found.save(tmp_path / "p.csv")
    assert list(pd.read_csv(tmp_path / "p.csv").columns) == list(frame.columns)


def test_the_table_is_short_and_aligned():
    found = Predictions((CAT, UNKNOWN, *[CAT] * 40), (SkippedRow("x.jpg", "no"),))
    assert repr(found).splitlines()[:4] == [
        "42 predictions, 1 rows skipped",
        "row       label    probability  next",
        "a, b.jpg  cat      75.0 %       dog 25.0 %",
        "c.jpg     unknown  -            dog 50.0 %, cat 50.0 %",
    ]
    assert repr(found).endswith("... and 32 more")
    assert len(found.table().splitlines()) == 43
    assert "Rome/B-LOC then/?" in Predictions(OF_TASKS).table()


def test_a_file_is_replaced_only_when_asked_and_whole_or_not_at_all(tmp_path, monkeypatch):
    found = Predictions((CAT,))
    found.save(tmp_path / "p.csv")
    before = (tmp_path / "p.csv").read_text()
    with pytest.raises(SettingsError, match=r"p\.csv is there already"):
        found.save(tmp_path / "p.csv")
    monkeypatch.setattr(ClassAnswer, "lines", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found.save(tmp_path / "p.csv", overwrite=True)
    assert (tmp_path / "p.csv").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
    monkeypatch.undo()
    Predictions((CAT, CAT)).save(tmp_path / "p.csv", overwrite=True)
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("p.cvs", r"says no format.*Did you mean '\.csv'\?"),
        ("no/p.csv", "there is no folder"),
        ("d.csv", "is a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_told(name, sentence, tmp_path):
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(SettingsError, match=sentence):
        Predictions((CAT,)).save(tmp_path / name)


def test_names_of_files_that_are_no_unicode_are_kept(tmp_path):
    case = saved_cases.classifier(tmp_path)
    name = tmp_path / "caf\udce9.png"
    try:
        name.write_bytes((tmp_path / "pictures" / "0.png").read_bytes())
    except (OSError, UnicodeError):
        pytest.skip("this file system holds Unicode names alone")
    found = load_transferred(case.folder)(name)
    found.save(tmp_path / "p.csv")
    assert r"caf\udce9.png" in (tmp_path / "p.csv").read_text()
