"""What people give becomes rows with names, in order; what cannot be read is left out and named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, Image
from hub.test_raw_inputs import sounds, wav2vec2
from PIL import Image as Pictures
from predicting import saved_cases

from hf_transfer_kit import load_transferred, prepare_data
from hf_transfer_kit.data import InputSizes, RawInputs
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.hub import save_inputs
from hf_transfer_kit.predicting.given_rows import names_data


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A network of pictures, its files and what is said of each."""
    case = saved_cases.classifier(tmp_path_factory.mktemp("seeing"))
    model = load_transferred(case.folder, device="cpu")
    return (
        model,
        case.rows,
        dict(zip(case.rows, case.logits[None].softmax(dim=1).max(dim=1).values.tolist(), strict=True)),
    )


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """A network of texts."""
    folder = tmp_path_factory.mktemp("reading")
    from hub.sharing_cases import tokenizer
    from hub.test_raw_inputs import bert

    bert().save_pretrained(folder / "kept")
    save_inputs(folder / "kept", RawInputs("text", tokenizer(), InputSizes(max_length=8)))
    return load_transferred(folder / "kept", device="cpu")


def probabilities(found):
    return [answer.probability for answer in found]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_bad_files_among_good_ones_are_skipped_and_named(batch_size, seeing, tmp_path):
    model, files, wanted = seeing
    (tmp_path / "words.png").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    bad = [str(tmp_path / name) for name in ("words.png", "empty.jpg", "absent.png", "notes.md")]
    (tmp_path / "notes.md").write_text("# notes")
    given = [bad[0], *files[:2], bad[1], files[2], bad[2], bad[3], *files[3:]]
    found = model(given, batch_size=batch_size)
    assert [answer.row for answer in found] == files
    assert probabilities(found) == pytest.approx([wanted[file] for file in files], abs=1e-5)
    assert [skipped.row for skipped in found.skipped] == bad
    for skipped, reason in zip(
        found.skipped, ("cannot identify", "", "there is no such file", "cannot identify"), strict=True
    ):
        assert reason in skipped.reason


def test_all_bad_gives_no_answer_and_every_reason(seeing, tmp_path):
    model, _, _ = seeing
    found = model([tmp_path / "a.png", tmp_path / "b.png"])
    assert len(found) == 0
    assert [skipped.row for skipped in found.skipped] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_a_file_that_is_mistyped_is_told_with_the_one_beside_it(seeing):
    model, files, _ = seeing
    name = files[0].replace("0.png", "00.png")
    assert "did you mean '0.png'" in model(name).skipped[0].reason


def test_pictures_in_memory_files_and_folders_are_one(seeing):
    model, files, wanted = seeing
    values = [wanted[file] for file in files]
    folder = Path(files[0]).parent
    opened = [Pictures.open(file) for file in files]
    for given in (folder, str(folder), opened, [np.asarray(each) for each in opened], map(Path, files)):
        assert probabilities(model(given)) == pytest.approx(values, abs=1e-5)
    assert [answer.row for answer in model(folder)] == files
    assert [answer.row for answer in model(opened)] == list(range(len(files)))
    assert probabilities(model(opened[0])) == pytest.approx(values[:1], abs=1e-5)
    assert probabilities(model(files[0])) == pytest.approx(values[:1], abs=1e-5)


def test_a_folder_has_all_below_but_what_is_hidden(seeing, tmp_path):
    model, files, _ = seeing
    for place in ("a/b", ".hidden"):
        (tmp_path / place).mkdir(parents=True)
        shutil.copy(files[0], tmp_path / place / "x.png")
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    assert [answer.row for answer in model(tmp_path)] == [str(tmp_path / "a" / "b" / "x.png")]
    (tmp_path / "none").mkdir()
    assert "holds no file of pictures" in model(tmp_path / "none").skipped[0].reason


def test_tables_of_files_and_of_pictures(seeing, tmp_path):
    model, files, wanted = seeing
    values = [wanted[file] for file in files]
    folder = Path(files[0]).parent
    lines = ["name,photo", *(f"number {n},{Path(file).name}" for n, file in enumerate(files)), "lost,absent.png"]
    (folder / "photos.csv").write_text("\n".join(lines))
    found = model(folder / "photos.csv")
    assert [answer.row for answer in found] == files
    assert [skipped.row for skipped in found.skipped] == [str(folder / "absent.png")]
    assert probabilities(found) == pytest.approx(values, abs=1e-5)
    (folder / "photos.csv").unlink()
    data = Dataset.from_dict({"image": files, "label": ["x"] * 7}).cast_column("image", Image())
    data.to_parquet(tmp_path / "rows.parquet")
    data.save_to_disk(str(tmp_path / "saved"))
    for given in (data, tmp_path / "rows.parquet", tmp_path / "saved"):
        found = model(given, batch_size=4)
        assert [answer.row for answer in found] == list(range(7))
        assert probabilities(found) == pytest.approx(values, abs=1e-5)
    twice = model([tmp_path / "rows.parquet", data])
    assert [twice[0].row, twice[7].row] == [f"{tmp_path / 'rows.parquet'}:0", "1:0"]
    with pytest.raises(DataError, match=r"has the splits train. Give one of them: data\['train'\]"):
        model(DatasetDict({"train": data}))


def test_texts_are_texts_and_paths_are_files(reading, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["a sentence of few", "words that are", "all known w1"]
    wanted = probabilities(reading(rows))
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(f"{row},x" for row in rows))
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows))
    (tmp_path / "rows.txt").write_text("\n\n".join(rows))
    for name in ("rows.csv", "rows.jsonl", "rows.txt"):
        for given in (name, Path(name), [Path(name)]):
            found = reading(given)
            assert probabilities(found) == pytest.approx(wanted, abs=1e-6), name
            assert [answer.row for answer in found] == ([0, 2, 4] if name == "rows.txt" else [0, 1, 2])
    assert reading(["rows.csv"])[0].row == 0  # in a list a text is a text
    assert len(reading(["rows.csv"])) == 1
    assert reading("rows.cvs.csv").skipped[0].reason.startswith("there is no such file")
    assert probabilities(reading(rows[0])) == pytest.approx(wanted[:1], abs=1e-6)


def test_texts_that_cannot_be_read_are_named(reading):
    found = reading(["a sentence", "", None, "  ", 3, ["a", "list"], "words"])
    assert [answer.row for answer in found] == [0, 6]
    assert [(skipped.row, skipped.reason) for skipped in found.skipped] == [
        (1, "the text is empty"),
        (2, "a NoneType is nothing of texts"),
        (3, "the text is empty"),
        (4, "a int is nothing of texts"),
        (5, "it is a list of words, and the network reads whole texts"),
    ]


def test_columns_of_tables(reading, tmp_path):
    table = Dataset.from_dict({"title": ["a", "of"], "review": ["few words", "all known"], "stars": [1, 2]})
    with pytest.raises(DataError, match=r"Several columns hold text: title, review\. Say which with --input_column"):
        reading(table)
    assert probabilities(reading(table, input_column="review")) == probabilities(reading(["few words", "all known"]))
    with pytest.raises(DataError, match=r"no column 'reviw'.*Did you mean 'review'\?"):
        reading(table, input_column="reviw")
    with pytest.raises(DataError, match="'stars' holds nothing of what this network reads"):
        reading(table, input_column="stars")


def test_pairs_come_from_the_columns_that_were_trained_on(tmp_path):
    case = saved_cases.pairs(tmp_path)
    table = {"other": ["x"] * 3, "first": [row[0] for row in case.rows], "second": [row[1] for row in case.rows]}
    model = load_transferred(case.folder)
    assert probabilities(model(Dataset.from_dict(table))) == pytest.approx(probabilities(model(case.rows)), abs=1e-6)


def test_waves_have_a_rate(tmp_path):
    data = sounds(tmp_path / "data")
    network, extractor = wav2vec2(True)
    network.save_pretrained(tmp_path / "kept")
    save_inputs(tmp_path / "kept", prepare_data(data, extractor).raw_inputs)
    model = load_transferred(tmp_path / "kept")
    file = tmp_path / "data" / "a" / "0.wav"
    import soundfile

    wave, rate = soundfile.read(file, dtype="float32")
    wanted = model(file)[0].top
    for given, options in (([wave], {"sampling_rate": rate}), ({"array": wave, "sampling_rate": rate}, {})):
        found = model(given, **options)[0].top
        assert [label for label, _ in found] == [label for label, _ in wanted]
        assert [value for _, value in found] == pytest.approx([value for _, value in wanted], abs=1e-5)
    assert "give sampling_rate" in model(wave).skipped[0].reason


def test_top_and_batches_are_numbers(seeing):
    model, files, _ = seeing
    assert [len(model(files[0], top=top)[0].top) for top in (1, 2, 9)] == [1, 2, 3]
    for wrong in ({"top": 0}, {"batch_size": 0}, {"top": "x"}, {"sampling_rate": 0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            model(files[0], **wrong)
    with pytest.raises(DataError, match="the list is empty"):
        model([])
    with pytest.raises(SettingsError, match=r"has no task 'x'; it has one task, which needs no name"):
        model(files[0], task="x")


def test_rows_of_which_the_network_says_nothing_finite_are_named(tmp_path):
    case = saved_cases.classifier(tmp_path)
    model = load_transferred(case.folder)
    with torch.no_grad():
        model.network.classifier.bias[0] = float("nan")
    found = model(case.rows[:2])
    assert not found.answers
    assert [skipped.reason for skipped in found.skipped] == ["what the network says of it is no finite number"] * 2


@pytest.mark.parametrize(
    ("text", "is_data"),
    [("reviews.csv", True), ("a.PNG", True), (".", True), ("I liked it", False), ("no\n.csv", False), ("", False)],
)
def test_what_looks_like_data_is_no_text(text, is_data):
    assert names_data(text) is is_data
