"""``hf-transfer predict``: what it prints and writes, and what it refuses."""

import csv
import json
import re
import sys
from pathlib import Path

import pytest
from hub.sharing_cases import classified
from predicting import saved_cases

from hf_transfer_kit.commands.predict import main
from hf_transfer_kit.data import InputSizes, RawInputs
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.hub import save_inputs


@pytest.fixture
def case(tmp_path, monkeypatch):
    found = saved_cases.classifier(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures" / "3.png").write_text("no picture")
    return found


GOOD = [f"pictures/{row}.png" for row in range(7) if row != 3]


def test_what_is_no_terminal_gets_csv_and_bad_files_are_named(case, capsys):
    main(["kept", "pictures", "absent.png", "--top", "2"])
    said = capsys.readouterr()
    rows = list(csv.DictReader(said.out.splitlines()))
    assert [row["row"] for row in rows] == GOOD
    assert list(rows[0]) == ["row", "label", "probability", "label_2", "probability_2"]
    assert "Skipped pictures/3.png: UnidentifiedImageError" in said.err
    assert "Skipped absent.png: there is no such file." in said.err
    probability = case.logits[None].softmax(dim=1).max(dim=1).values[0]
    assert float(rows[0]["probability"]) == pytest.approx(float(probability), abs=1e-5)


def test_a_terminal_gets_a_table(case, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    main(["kept", *GOOD[:2], "--disable_tqdm"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["row", "label", "probability", "next"]
    assert [line.split()[0] for line in lines[1:]] == GOOD[:2]


def test_a_file_is_written_once(case, capsys):
    main(["kept", "pictures", "--output", "found.jsonl"])
    assert capsys.readouterr().out == "6 predictions are in found.jsonl.\n"
    assert [json.loads(line)["row"] for line in Path("found.jsonl").read_text().splitlines()] == GOOD
    with pytest.raises(SettingsError, match=r"found\.jsonl is there already"):
        main(["kept", GOOD[0], "--output", "found.jsonl"])
    main(["kept", GOOD[0], "--output", "found.jsonl", "--overwrite"])
    assert len(Path("found.jsonl").read_text().splitlines()) == 1


def test_nothing_that_can_be_read_ends_with_status_1(case, capsys):
    with pytest.raises(SystemExit, match="No row of 2 could be read, so nothing was predicted"):
        main(["kept", "pictures/3.png", "absent.png", "--output", "found.csv"])
    assert not Path("found.csv").exists()


def test_what_is_mistyped_is_told_before_anything_is_loaded(case):
    with pytest.raises(ModelError, match="Did you mean 'kept'"):
        main(["kep", GOOD[0]])
    with pytest.raises(SettingsError, match="says no format"):
        main(["kept", GOOD[0], "--output", "found.xlsx"])
    for typed, sentence in (
        (["kept", GOOD[0], "--to", "3"], "--to is no flag here. --help lists what may be given. Did you mean '--top'?"),
        (["kept", GOOD[0], "--top", "x"], "--top x is no whole number. --help"),
        (["kept"], "The following arguments are required: INPUT."),
    ):
        with pytest.raises(SettingsError, match=re.escape(sentence)):
            main(typed)


def test_tasks_texts_and_a_folder_that_is_read(tmp_path, monkeypatch, capsys):
    case = saved_cases.several_texts(tmp_path)
    monkeypatch.chdir(tmp_path)
    main([str(case.folder), case.rows[0], "--task", "score"])
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert float(row["value"]) == pytest.approx(float(case.logits["score"][0, 0]), abs=1e-5)
    Path("texts").mkdir()
    Path("texts/rows.csv").write_text("text\na sentence\n")
    with pytest.raises(SettingsError, match="lies in a folder of texts that is read"):
        main([str(case.folder), "texts", "--output", "texts/found.csv"])
    main([str(case.folder), "texts/rows.csv", "missing.csv", "--output", "found.csv"])
    assert "Skipped missing.csv: there is no such file" in capsys.readouterr().err


def test_classes_are_added_by_a_table(tmp_path, monkeypatch, capsys):
    from hub.sharing_cases import image_processor, zero_shot

    zero_shot().model.save_pretrained(tmp_path / "kept")
    save_inputs(tmp_path / "kept", RawInputs("image", image_processor(), InputSizes()))
    monkeypatch.chdir(tmp_path)
    saved_cases.pictures(tmp_path / "pictures", 2)
    Path("new.csv").write_text("class,stripes,hooves,flies\nokapi,0.5,1,0\n")
    main(["kept", "pictures", "--top", "9", "--classes", "new.csv"])
    (row, _) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert "okapi" in {row[name] for name in row if name.startswith("label")}


def test_the_report_of_a_run_is_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from hf_transfer_kit.reports import write_report

    Path("advised").mkdir()
    write_report("advised", classified("image", 3))
    with pytest.raises(ModelError, match="has left no network"):
        main(["advised", "photo.jpg"])
