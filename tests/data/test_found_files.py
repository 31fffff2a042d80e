"""Files and layouts as people have them: each is read for what it is, or refused in a sentence."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import soundfile
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from PIL import Image as Pictures
from PIL import ImageOps

from hf_transfer_kit.data import load_data
from hf_transfer_kit.data.decoding import mono_wave, rgb_image, undecoded
from hf_transfer_kit.errors import DataError

WORDS = {"neg": "bad", "pos": "good"}


def reviews(count=20, start=0):
    """Texts that name their own class, and the classes."""
    names = [("neg", "pos")[row % 2] for row in range(start, start + count)]
    return [f"{WORDS[name]} film {row}" for row, name in enumerate(names, start)], names


def true_names(data, split):
    """What each row's text says its class is."""
    back = {word: name for name, word in WORDS.items()}
    return [back[text.split()[0]] for text in getattr(data, split)["text"]]


def read_names(data, split):
    return [data.label_names[index] for index in getattr(data, split)[data.label_column]]


def assert_labels_are_right(data):
    for split in ("train", "validation", "test"):
        assert read_names(data, split) == true_names(data, split), split


class TestClassesByName:
    @staticmethod
    def _split(names, count=20, kind="class", start=0):
        texts, classes = reviews(count, start)
        if kind == "class":
            feature = ClassLabel(names=names)
            return Dataset.from_dict(
                {"text": texts, "label": [names.index(name) for name in classes]},
                features=Features({"text": Value("string"), "label": feature}),
            )
        return Dataset.from_dict({"text": texts, "label": classes})

    @pytest.mark.parametrize("second", [["pos", "neg"], ["neg", "pos"], ["other", "pos", "neg"]])
    @pytest.mark.parametrize("how", ["disk", "parquet"])
    def test_of_splits_with_lists_of_their_own(self, tmp_path, how, second, said):
        splits = DatasetDict(train=self._split(["neg", "pos"]), test=self._split(second, 10, start=20))
        if how == "disk":
            splits.save_to_disk(tmp_path)
        else:
            for name, split in splits.items():
                split.to_parquet(tmp_path / f"{name}.parquet")
        data = load_data(tmp_path)
        assert data.sizes()["test"] == 10
        assert_labels_are_right(data)
        assert ("matched by name, not by place" in said()) is (second != ["neg", "pos"])

    def test_of_two_files_of_one_split(self, tmp_path, said):
        for folder, names, start in (("a", ["neg", "pos"], 0), ("b", ["pos", "neg"], 20)):
            (tmp_path / folder).mkdir()
            self._split(names, start=start).to_parquet(tmp_path / folder / "train.parquet")
        data = load_data(tmp_path)
        assert sum(data.sizes().values()) == 40
        assert_labels_are_right(data)
        assert "matched by name" in said()

    def test_of_a_split_with_texts(self, tmp_path):
        DatasetDict(train=self._split(["pos", "neg"]), test=self._split(None, kind="text")).save_to_disk(tmp_path)
        assert_labels_are_right(load_data(tmp_path))

    def test_of_numbers_that_may_be_names_or_places(self, tmp_path):
        named = Dataset.from_dict(
            {"text": ["a", "b"] * 10, "label": [0, 1] * 10},
            features=Features({"text": Value("string"), "label": ClassLabel(names=["1", "0"])}),
        )
        plain = Dataset.from_dict({"text": ["a", "b"] * 10, "label": [0, 1] * 10})
        DatasetDict(train=named, test=plain).save_to_disk(tmp_path)
        with pytest.raises(DataError, match="whether a number is a name or a place cannot be told"):
            load_data(tmp_path)

    @pytest.mark.parametrize("task_type", ["multi_label", "token_classification"])
    def test_of_lists(self, tmp_path, task_type):
        def split(names):
            rows = [["x"], ["x", "y"], ["y"]] * 5 if task_type == "multi_label" else [["x", "y"], ["y", "y"]] * 6
            features = Features(
                {"words": List(Value("string")), "text": Value("string"), "label": List(ClassLabel(names=names))}
            )
            return Dataset.from_dict(
                {
                    "words": rows,
                    "text": [" ".join(row) for row in rows],
                    "label": [[names.index(n) for n in row] for row in rows],
                },
                features=features,
            )

        DatasetDict(train=split(["x", "y"]), test=split(["y", "x"])).save_to_disk(tmp_path)
        column = "text" if task_type == "multi_label" else "words"
        data = load_data(tmp_path, task_type=task_type, input_column=column)
        for row in data.test:
            if task_type == "multi_label":
                named = [name for name, held in zip(data.label_names, row["label"], strict=True) if held]
                assert named == sorted(row["text"].split())
            else:
                assert [data.label_names[index] for index in row["label"]] == row["words"]

    def test_that_only_test_has_is_told(self, tmp_path, said):
        texts, classes = reviews()
        Dataset.from_dict({"text": texts, "label": classes}).to_parquet(tmp_path / "train.parquet")
        Dataset.from_dict({"text": texts, "label": [*classes[:-1], "odd"]}).to_parquet(tmp_path / "test.parquet")
        load_data(tmp_path)
        assert "No row of train has the class 'odd' (1 rows of test): nothing teaches it." in said()


class TestSpellings:
    @staticmethod
    def _file(folder, labels):
        Dataset.from_dict({"text": [f"t{i}" for i in range(len(labels))], "label": labels}).to_parquet(
            folder / "a.parquet"
        )
        return folder / "a.parquet"

    def test_space_around_a_name_is_no_part_of_it(self, tmp_path):
        assert load_data(self._file(tmp_path, [" pos", "neg", "pos ", "neg"] * 5)).label_names == ("neg", "pos")

    def test_names_that_differ_in_case_alone_are_refused(self, tmp_path):
        with pytest.raises(DataError, match="'Pos' and 'pos': one class in two spellings"):
            load_data(self._file(tmp_path, ["Pos", "neg", "pos", "neg"] * 5))

    def test_single_letters_are_classes_of_their_own(self, tmp_path):
        assert load_data(self._file(tmp_path, ["a", "A", "b"] * 6)).label_names == ("A", "a", "b")

    def test_minus_one_and_one_are_classes(self, tmp_path):
        assert load_data(self._file(tmp_path, [-1, 1] * 10)).label_names == ("-1", "1")

    def test_minus_one_is_no_label_only_where_it_is_said(self, tmp_path):
        path = self._file(tmp_path, [-1, 0, 1] * 8)
        assert load_data(path).label_names == ("-1", "0", "1")
        with pytest.raises(DataError, match="a class, or no label"):
            load_data(path, labelled=False)
        data = load_data(path, labelled=False, missing_label=-1)
        assert data.label_names == ("0", "1")
        assert (
            sum(label == -1 for split in ("train", "validation", "test") for label in getattr(data, split)["label"])
            == 8
        )

    def test_a_word_that_stands_for_no_label(self, tmp_path, said):
        path = self._file(tmp_path, ["yes", "no", "?"] * 8)
        data = load_data(path, labelled=False, missing_label="?")
        assert data.label_names == ("no", "yes")
        with pytest.raises(DataError, match="has no label in 'label'"):
            load_data(path, missing_label="?")

    def test_whole_numbers_with_gaps_lack_labels(self, tmp_path):
        with pytest.raises(DataError, match="Row 2 of train has no label"):
            load_data(self._file(tmp_path, [0.0, 1.0, None, 1.0] * 4))

    def test_lists_say_which_task_they_are_for(self, tmp_path):
        with pytest.raises(DataError, match=r'lists of int64, not classes.*task_type="multi_label"'):
            load_data(self._file(tmp_path, [[0], [1, 2]] * 4))


def table(count=20, start=0):
    texts, classes = reviews(count, start)
    return pd.DataFrame({"text": texts, "label": classes})


class TestSplitsByName:
    @pytest.mark.parametrize(
        ("train", "test"),
        [
            ("imdb_train.csv", "imdb_test.csv"),
            ("Train.csv", "TEST.csv"),
            ("reviews-training.csv", "reviews-eval.csv"),
            ("data/train-00000-of-00001.csv", "data/test-00000-of-00001.csv"),
            ("train/part0.csv", "test/part0.csv"),
            ("Training/a.csv", "Testing/a.csv"),
            ("reviews.csv", "reviews_test.csv"),
        ],
    )
    def test_of_files_and_folders(self, tmp_path, train, test):
        for name, rows in ((train, table(40)), (test, table(10, start=40))):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            rows.to_csv(tmp_path / name, index=False)
        data = load_data(tmp_path)
        assert data.sizes() == {"train": 32, "validation": 8, "test": 10}
        assert all(int(text.split()[-1]) >= 40 for text in data.test["text"])
        assert_labels_are_right(data)

    @pytest.mark.parametrize("name", ["validated", "invalid", "latest", "retrained"])
    def test_of_a_word_inside_another(self, tmp_path, name):
        splits = {"train": Dataset.from_pandas(table(40)), name: Dataset.from_pandas(table(10))}
        DatasetDict(splits).save_to_disk(tmp_path)
        assert load_data(tmp_path).sizes() == {"train": 26, "validation": 6, "test": 8}

    def test_of_a_file_that_tells_none_beside_others(self, tmp_path, said):
        table(40).to_csv(tmp_path / "train.csv", index=False)
        table(10).to_csv(tmp_path / "test.csv", index=False)
        table(4).drop(columns="label").to_csv(tmp_path / "sample_submission.csv", index=False)
        assert load_data(tmp_path).sizes()["test"] == 10
        assert "sample_submission.csv of" in (told := said())
        assert "is left out" in told

    def test_of_a_competition_whose_test_has_no_labels(self, tmp_path):
        table(40).to_csv(tmp_path / "train.csv", index=False)
        table(10).drop(columns="label").to_csv(tmp_path / "test.csv", index=False)
        with pytest.raises(DataError, match="The split test has no column 'label', which train has"):
            load_data(tmp_path)

    def test_of_splits_with_words_of_their_own(self, tmp_path, said):
        parts = {"train_sft": table(40), "test_sft": table(10)}
        DatasetDict({name: Dataset.from_pandas(rows) for name, rows in parts.items()}).save_to_disk(tmp_path)
        assert load_data(tmp_path).sizes()["test"] == 10
        assert "train_sft is taken for train, test_sft is taken for test" in said()

    def test_of_a_cloned_hub_dataset(self, tmp_path):
        (tmp_path / "data").mkdir()
        files = "  - {split: train, path: data/a.csv}\n  - {split: test, path: data/b.csv}"
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}\n---\n")
        table(40).to_csv(tmp_path / "data" / "a.csv", index=False)
        table(10).to_csv(tmp_path / "data" / "b.csv", index=False)
        assert load_data(tmp_path).sizes()["test"] == 10


class TestTables:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    @pytest.mark.parametrize("name", ["a.csv", "A.CSV"])
    def test_delimiters_and_encodings_are_found(self, tmp_path, delimiter, encoding, name):
        rows = table()
        rows["text"] += ", Käse" + delimiter + " und mehr"
        rows.to_csv(tmp_path / name, index=False, sep=delimiter, encoding=encoding)
        data = load_data(tmp_path / name)
        assert data.label_names == ("neg", "pos")
        assert sorted(t for split in data.sizes() for t in getattr(data, split)["text"]) == sorted(rows["text"])
        assert_labels_are_right(data)

    def test_a_folder_of_tsv(self, tmp_path):
        for name, rows in (("train", table(40)), ("test", table(10))):
            rows.to_csv(tmp_path / f"{name}.tsv", index=False, sep="\t")
        assert load_data(tmp_path).sizes()["test"] == 10

    @pytest.mark.parametrize("word", ["NA", "None", "null", "nan"])
    def test_words_for_nothing_are_classes_among_words(self, tmp_path, word):
        rows = table(30)
        rows["label"] = ["neg", "pos", word] * 10
        rows.to_csv(tmp_path / "a.csv", index=False)
        assert set(load_data(tmp_path / "a.csv").label_names) == {"neg", "pos", word}

    def test_a_class_called_01_keeps_its_name(self, tmp_path):
        rows = table()
        rows["label"] = ["01", "02"] * 10
        rows.to_csv(tmp_path / "a.csv", index=False)
        assert load_data(tmp_path / "a.csv").label_names == ("01", "02")

    @pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", ","), ("\t", ",")])
    def test_numbers_with_decimal_commas(self, tmp_path, delimiter, decimal):
        rows = table(40)
        rows["label"] = [row / 4 - 3 for row in range(40)]
        rows.to_csv(tmp_path / "a.csv", index=False, sep=delimiter, decimal=decimal)
        data = load_data(tmp_path / "a.csv", task_type="regression")
        for split in data.sizes():
            for row in getattr(data, split):
                assert row["label"] == int(row["text"].split()[-1]) / 4 - 3

    def test_minus_hundred_is_a_number(self, tmp_path):
        rows = table(20)
        rows["label"] = [-100.0, 5.5] * 10
        rows.to_csv(tmp_path / "a.csv", index=False)
        data = load_data(tmp_path / "a.csv", task_type="regression")
        assert sum(value == -100.0 for split in data.sizes() for value in getattr(data, split)["label"]) == 10

    def test_json_with_the_rows_inside(self, tmp_path):
        (tmp_path / "a.json").write_text(json.dumps({"version": 2, "data": table().to_dict("records")}))
        assert_labels_are_right(load_data(tmp_path / "a.json"))

    def test_names_with_brackets(self, tmp_path):
        table().to_csv(tmp_path / "reviews [v2] *.csv", index=False)
        assert_labels_are_right(load_data(tmp_path / "reviews [v2] *.csv"))


COLORS = {"red": (250, 0, 0), "blue": (0, 0, 250)}


class TestFolders:
    """Pictures whose color, and sounds whose pitch, is their class."""

    @staticmethod
    def _write(path, name, kind):
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "image":
            file = path.with_name(f"{path.name}.png")
            Pictures.new("RGB", (8, 6), COLORS[name]).save(file)
        else:
            file = path.with_name(f"{path.name}.wav")
            wave = np.sin(np.arange(800) * (0.1 if name == "red" else 0.8)).astype(np.float32)
            soundfile.write(file, wave, 8000)
        return file

    @staticmethod
    def _seen(value, kind):
        if kind == "image":
            return "red" if np.asarray(rgb_image(value))[0, 0, 0] > 100 else "blue"
        return "red" if abs(np.diff(np.sign(mono_wave(value)))).sum() < 200 else "blue"

    def _check(self, data, kind):
        assert data.modality == kind
        for split in data.sizes():
            rows = getattr(data, split)
            seen = [self._seen(value, kind) for value in undecoded(rows, data.input_columns[0], kind)]
            assert [data.label_names[index] for index in rows[data.label_column]] == seen

    @pytest.mark.parametrize("kind", ["image", "audio"])
    @pytest.mark.parametrize("stray", [False, True])
    @pytest.mark.parametrize("folders", [("",), ("train", "test"), ("Training", "Testing"), ("train", "val", "test")])
    def test_of_one_folder_a_class(self, tmp_path, kind, folders, stray):
        for folder in folders:
            for name in COLORS:
                for row in range(10):
                    self._write(tmp_path / folder / name / f"test_{row}", name, kind)
        if stray:
            table(5).to_csv(tmp_path / "notes.csv", index=False)
        data = load_data(tmp_path)
        assert sum(data.sizes().values()) == 20 * len(folders)
        if len(folders) > 1:
            assert data.sizes()["test"] == 20
        self._check(data, kind)

    @pytest.mark.parametrize("kind", ["image", "audio"])
    @pytest.mark.parametrize(
        ("tables", "named"),
        [
            (["metadata.csv"], "file_name"),
            (["metadata.jsonl"], "file_name"),
            (["labels.csv"], "path"),
            (["labels.csv"], "id"),
            (["train.csv", "test.csv"], "file"),
        ],
    )
    def test_of_a_table_that_names_the_files(self, tmp_path, kind, tables, named):
        rows = []
        for row in range(40):
            name = list(COLORS)[row % 2]
            file = self._write(tmp_path / "files" / f"{row}", name, kind)
            value = {"id": row, "file": file.name}.get(named, f"files/{file.name}")
            rows.append({named: value, "label": name})
        for number, written in enumerate(tables):
            frame = pd.DataFrame(rows if len(tables) == 1 else rows[20 * number : 20 * number + 20])
            if written.endswith("jsonl"):
                frame.to_json(tmp_path / written, orient="records", lines=True)
            else:
                frame.to_csv(tmp_path / written, index=False)
        data = load_data(tmp_path)
        assert sum(data.sizes().values()) == 40
        if len(tables) == 2:
            assert data.sizes()["test"] == 20
        self._check(data, kind)

    @pytest.mark.parametrize("folders", [("",), ("train", "test"), ("seg_train", "seg_test")])
    def test_of_a_class_called_after_a_split(self, tmp_path, folders):
        for folder in folders:
            for name, written in (("red", "bullet_train"), ("blue", "test tubes")):
                for row in range(10):
                    self._write(tmp_path / folder / written / f"{row}", name, "image")
        data = load_data(tmp_path)
        assert data.label_names == ("bullet_train", "test tubes")
        assert sum(data.sizes().values()) == 20 * len(folders)
        if len(folders) > 1:
            assert data.sizes()["test"] == 20

    def test_of_a_picture_beside_tables(self, tmp_path, said):
        table(40).to_csv(tmp_path / "train.csv", index=False)
        table(10).to_csv(tmp_path / "test.csv", index=False)
        self._write(tmp_path / "figure", "red", "image")
        assert load_data(tmp_path).sizes()["test"] == 10
        assert "1 files beside the tables of" in said()

    def test_of_one_table_over_folders_of_splits(self, tmp_path):
        rows = []
        for folder, count in (("train", 20), ("test", 10)):
            for row in range(count):
                name = list(COLORS)[row % 2]
                file = self._write(tmp_path / folder / f"{row}", name, "image")
                rows.append({"file_name": f"{folder}/{file.name}", "label": name})
        pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
        data = load_data(tmp_path)
        assert data.sizes()["test"] == 10
        self._check(data, "image")

    def test_of_a_table_whose_files_are_missing(self, tmp_path):
        for row in range(8):
            self._write(tmp_path / f"{row}", "red", "image")
        rows = {"file_name": [f"{row}.png" for row in range(10)], "label": ["a", "b"] * 5}
        pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
        with pytest.raises(DataError, match=r"names 2 of 10 files in 'file_name' that are not there.*row 8: '8.png'"):
            load_data(tmp_path)

    def test_with_brackets_in_their_names(self, tmp_path):
        for name in COLORS:
            for row in range(10):
                self._write(tmp_path / f"{name} [small]" / f"a[{row}]*", name, "image")
        assert load_data(tmp_path).label_names == ("blue [small]", "red [small]")

    def test_of_one_class(self, tmp_path):
        for row in range(8):
            self._write(tmp_path / "red" / f"{row}", "red", "image")
        with pytest.raises(DataError, match="Give each class a folder of its own"):
            load_data(tmp_path)
        assert load_data(tmp_path, labelled=False).label_column is None

    def test_of_nothing(self, tmp_path):
        (tmp_path / "a.txt").write_text("nothing")
        with pytest.raises(DataError, match="holds no data"):
            load_data(tmp_path)


class TestPictures:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_are_upright(self, tmp_path, orientation):
        turned = Pictures.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
        exif = Pictures.Exif()
        exif[0x0112] = orientation
        turned.save(tmp_path / "a.jpg", exif=exif, quality=95)
        expected = ImageOps.exif_transpose(Pictures.open(tmp_path / "a.jpg")).convert("RGB")
        read = rgb_image({"bytes": None, "path": str(tmp_path / "a.jpg")})
        assert read.size == ((60, 40) if orientation < 5 else (40, 60))
        assert np.array_equal(np.asarray(read), np.asarray(expected))

    @pytest.mark.parametrize("kind", ["sixteen", "share", "grey", "palette", "alpha", "one bit", "cmyk"])
    def test_of_every_depth_keep_their_values(self, kind):
        ramp = np.linspace(0, 1, 64).reshape(8, 8)
        grey = Pictures.fromarray((ramp * 255).astype(np.uint8))
        made = {
            "sixteen": Pictures.fromarray((ramp * 65_535).astype(np.uint16)),
            "share": Pictures.fromarray(ramp.astype(np.float32)),
            "grey": grey,
            "palette": grey.convert("P"),
            "alpha": grey.convert("LA"),
            "one bit": Pictures.fromarray(ramp > 0.5),
            "cmyk": grey.convert("RGB").convert("CMYK"),
        }[kind]
        buffer = io.BytesIO()
        made.save(buffer, "TIFF")
        read = np.asarray(rgb_image({"bytes": buffer.getvalue(), "path": None}))
        assert read.shape == (8, 8, 3)
        wanted = (ramp > 0.5) * 255 if kind == "one bit" else ramp * 255
        assert np.abs(read[..., 0].astype(float) - wanted).max() <= 1


class TestSounds:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_that_are_not_finite_are_named(self, tmp_path, value):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            for row in range(6):
                wave = np.sin(np.arange(800) * 0.1).astype(np.float32)
                if (name, row) == ("b", 3):
                    wave[5] = value
                soundfile.write(tmp_path / name / f"{row}.wav", wave, 8000, subtype="FLOAT")
        with pytest.raises(DataError, match="1 of its 800 samples are no finite numbers"):
            load_data(tmp_path)
        assert load_data(tmp_path, skip_bad_rows=True).skipped_rows == 1


class TestRareAndMissing:
    @staticmethod
    def rows(counts):
        names = [name for name, count in counts.items() for _ in range(count)]
        return Dataset.from_dict({"text": [f"{name} {row}" for row, name in enumerate(names)], "label": names})

    def load(self, tmp_path, counts, **settings):
        self.rows(counts).to_parquet(tmp_path / "rows.parquet")
        return load_data(tmp_path / "rows.parquet", **settings)

    @pytest.mark.parametrize("seed", range(4))
    def test_a_class_of_three_rows_has_a_row_in_test(self, tmp_path, seed):
        data = self.load(tmp_path, {"usual": 600, "often": 300, "rare": 3}, seed=seed)
        assert "rare" in read_names(data, "test")
        assert data.sizes() == {"train": 578, "validation": 144, "test": 181}
        given = sorted(row for split in ("train", "validation", "test") for row in data.given_rows[split])
        assert given == list(range(903))

    def test_a_class_of_two_rows_that_nothing_tests_is_told(self, tmp_path, said):
        data = self.load(tmp_path, {"usual": 600, "rare": 2})
        untested = [split for split in ("validation", "test") if "rare" not in read_names(data, split)]
        assert untested
        words = said()
        for split in untested:
            assert f"No row of {split} has the class 'rare'" in words

    def test_rows_are_found_by_their_place_in_what_was_given(self, tmp_path):
        data = self.load(tmp_path, {"a": 40, "b": 20})
        whole = Dataset.from_parquet(str(tmp_path / "rows.parquet"))
        for split in ("train", "validation", "test"):
            assert list(getattr(data, split)["text"]) == [whole[row]["text"] for row in data.given_rows[split]]

    def test_a_thousand_classes_of_three_rows_can_be_split(self, tmp_path):
        counts = {f"c{index:04}": 3 for index in range(1000)}
        with pytest.raises(DataError, match=r"Give a size from 1000 to 2000, or a share from 0.333 to 0.667"):
            self.load(tmp_path, counts)
        data = self.load(tmp_path, counts, test_size=1000.0, validation_size=1000)
        assert data.sizes() == {"train": 1000, "validation": 1000, "test": 1000}
        assert data.sizes() == self.load(tmp_path, counts, test_size=1 / 3, validation_size=0.5).sizes()

    @pytest.mark.parametrize("size", [1.5, -0.1, 0, 3.2])
    def test_a_size_that_is_none_is_told(self, tmp_path, size):
        with pytest.raises(DataError, match="test_size of"):
            self.load(tmp_path, {"a": 40, "b": 20}, test_size=size)

    def test_missing_labels_are_counted(self, tmp_path, said):
        names = ["a", "b", None, ""] * 20
        Dataset.from_dict({"text": [f"t {row}" for row in range(80)], "label": names}).to_parquet(
            tmp_path / "x.parquet"
        )
        with pytest.raises(DataError, match=r"Row 2 of train has no label .* \(nor have 39 more of its 80 rows\)"):
            load_data(tmp_path / "x.parquet")
        data = load_data(tmp_path / "x.parquet", labelled=False)
        counts = {split: getattr(data, split)["label"].count(-1) for split in ("train", "validation", "test")}
        assert sum(counts.values()) == 40
        words = said()
        for split, count in counts.items():
            assert f"{count} of {data.sizes()[split]} rows of {split}" in words
        assert "have no label" in words

    def test_pictures_of_one_colour_and_silence_are_counted(self, tmp_path, said):
        draw = np.random.default_rng(0)
        for row in range(30):
            for kind in ("picture", "sound"):
                (tmp_path / kind / "ab"[row % 2]).mkdir(parents=True, exist_ok=True)
            pixels = np.full((8, 8, 3), 40) if row < 4 else draw.integers(0, 255, (8, 8, 3))
            Pictures.fromarray(pixels.astype(np.uint8)).save(tmp_path / "picture" / "ab"[row % 2] / f"{row}.png")
            wave = np.zeros(800) if row < 6 else draw.uniform(-0.5, 0.5, 800)
            soundfile.write(tmp_path / "sound" / "ab"[row % 2] / f"{row}.wav", wave, 8000)
        load_data(tmp_path / "picture")
        load_data(tmp_path / "sound")
        words = said()
        for what, count in (("pictures of one colour", 4), ("silent", 6)):
            told = [int(line) for line in re.findall(rf"(\d+) of \d+ rows of train are {what}", words)]
            assert sum(told) == count
