import io

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as Pictures

from hf_transfer_kit.data import load_data
from hf_transfer_kit.errors import DataError, SettingsError

FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})


def texts(rows: int, labels=None) -> Dataset:
    labels = labels if labels is not None else [row % 2 for row in range(rows)]
    return Dataset.from_dict({"text": [f"text {row}" for row in range(rows)], "label": labels}, features=FEATURES)


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Pictures.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_parquet_folder_with_splits(tmp_path):
    texts(100).to_parquet(tmp_path / "train.parquet")
    texts(30).to_parquet(tmp_path / "test.parquet")
    data = load_data(tmp_path)
    assert data.sizes() == {"train": 80, "validation": 20, "test": 30}
    assert (data.name, data.modality, data.label_names) == (tmp_path.name, "text", ("bad", "good"))
    assert set(data.validation["text"]).isdisjoint(data.train["text"])


def test_one_file_is_split_three_ways_with_equal_shares(tmp_path):
    Dataset.from_dict({"text": [f"t{i}" for i in range(100)], "label": ["yes", "no"] * 50}).to_csv(tmp_path / "all.csv")
    data = load_data(tmp_path / "all.csv")
    assert data.sizes() == {"train": 64, "validation": 16, "test": 20}
    assert data.label_names == ("no", "yes")
    assert [np.mean(getattr(data, split)["label"]) for split in data.sizes()] == [0.5, 0.5, 0.5]


def test_an_image_folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for row in range(10):
            (tmp_path / name / f"{row}.png").write_bytes(png(row))
    data = load_data(tmp_path)
    assert (data.modality, data.label_names, sum(data.sizes().values())) == ("image", ("cat", "dog"), 20)


def test_saved_to_disk_and_integer_labels(tmp_path):
    columns = {"text": [f"t{i}" for i in range(40)], "label": [3, 7] * 20}
    DatasetDict(train=Dataset.from_dict(columns), test=Dataset.from_dict(columns)).save_to_disk(tmp_path)
    data = load_data(tmp_path)
    assert data.label_names == ("3", "7")
    assert set(data.test["label"]) == {0, 1}


@pytest.mark.parametrize(("size", "rows"), [(10, 10), (0.25, 25), (100, 80), (1.0, 80)])
def test_train_size_is_a_stratified_subset_and_validation_comes_from_the_rest(tmp_path, size, rows):
    texts(100).to_parquet(tmp_path / "train.parquet")
    texts(30).to_parquet(tmp_path / "test.parquet")
    data = load_data(tmp_path, train_size=size)
    assert len(data.train) == rows
    assert len(data.validation) == 20
    assert abs(sum(data.train["label"]) - rows / 2) <= 0.5
    assert set(data.validation["text"]).isdisjoint(data.train["text"])


def test_the_seed_decides_the_subset(tmp_path):
    texts(100).to_parquet(tmp_path / "train.parquet")
    first, same, other = (load_data(tmp_path, train_size=10, seed=seed).train["text"] for seed in (0, 0, 1))
    assert list(first) == list(same) != list(other)


def test_an_unreadable_image_is_named_or_skipped_and_counted(tmp_path):
    images = [{"bytes": png(row), "path": None} for row in range(20)]
    images[7] = {"bytes": b"this is no picture", "path": None}
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=["a", "b"])})
    data = Dataset.from_dict({"image": images, "label": [0, 1] * 10}, features=features)
    for split in ("train", "validation", "test"):
        data.cast_column("image", Image(decode=False)).to_parquet(tmp_path / f"{split}.parquet")
    with pytest.raises(DataError, match=r"Row 7 of train cannot be read: UnidentifiedImageError.*--skip_bad_rows"):
        load_data(tmp_path)
    data = load_data(tmp_path, skip_bad_rows=True)
    assert data.skipped_rows == 3
    assert data.sizes() == {"train": 19, "validation": 19, "test": 19}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0] * 20, r"holds one class only \('bad'\)"),
        ([0, 1] * 9 + [0, -1], r"Row 19 of train has the label -1 in 'label', outside the 2 classes"),
        ([0, 1] * 9 + [0, None], r"Row 19 of train has no label"),
        ([0] * 19 + [1], r"the class 'good' has a single row"),
    ],
)
def test_bad_labels_are_sentences(tmp_path, labels, message):
    texts(20, labels).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


def test_other_errors_are_sentences(tmp_path):
    with pytest.raises(DataError, match=r"There is no dataset at .*nowhere: the path does not exist"):
        load_data(tmp_path / "nowhere")
    with pytest.raises(DataError, match="could not be loaded from the Hub"):
        load_data("someone/no-such-data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data"):
        load_data(tmp_path / "empty")
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        load_data(tmp_path / "broken.parquet")
    texts(50).to_parquet(tmp_path / "fine.parquet")
    with pytest.raises(DataError, match=r"train_size=41 asks for more rows than there are: 40"):
        load_data(tmp_path / "fine.parquet", train_size=41)
    with pytest.raises(DataError, match=r"train_size=1\.5 is no share"):
        load_data(tmp_path / "fine.parquet", train_size=1.5)
    Dataset.from_dict({"text": ["a", " ", "c"] * 5, "label": [0, 1, 0] * 5}).to_parquet(tmp_path / "blank.parquet")
    with pytest.raises(DataError, match=r"the text is empty in column 'text'"):
        load_data(tmp_path / "blank.parquet")


def test_real_data(shared):
    flowers = load_data(shared / "data" / "flowers", train_size=200)
    assert flowers.sizes() == {"train": 200, "validation": 200, "test": 500}
    assert np.bincount(flowers.train["label"]).tolist() == [40] * 5
    assert load_data(shared / "data" / "trec").label_column == "label"
    with pytest.raises(DataError, match=r"holds float\d+, not classes"):
        load_data(shared / "data" / "stsb", input_column="sentence1,sentence2")


def test_a_target_without_a_label_column_splits_by_the_seed_into_disjoint_rows(tmp_path):
    Dataset.from_dict({"text": [f"t{i}" for i in range(100)]}).to_csv(tmp_path / "all.csv")
    with pytest.raises(DataError, match="There is no label column"):
        load_data(tmp_path / "all.csv")
    data, same, other = (load_data(tmp_path / "all.csv", labelled=False, seed=seed) for seed in (0, 0, 1))
    assert data.sizes() == {"train": 64, "validation": 16, "test": 20}
    assert (data.label_column, data.label_names, data.labelled_splits) == (None, (), ())
    rows = {split: list(getattr(data, split)["text"]) for split in data.sizes()}
    assert sorted(text for texts in rows.values() for text in texts) == sorted(f"t{i}" for i in range(100))
    assert rows == {split: list(getattr(same, split)["text"]) for split in rows}
    assert rows["test"] != list(other.test["text"])
    few = load_data(tmp_path / "all.csv", labelled=False, train_size=10)
    assert few.sizes() == {"train": 10, "validation": 16, "test": 20}
    assert set(few.train["text"]).isdisjoint(few.validation["text"])


def test_labels_of_a_target_are_kept_where_every_row_of_a_split_has_one(tmp_path):
    texts(40, [0, -1, None, 1] * 10).to_parquet(tmp_path / "train.parquet")
    texts(30).to_parquet(tmp_path / "test.parquet")
    data = load_data(tmp_path, labelled=False)
    assert (data.label_column, data.label_names, data.labelled_splits) == ("label", ("bad", "good"), ("test",))
    assert data.sizes() == {"train": 32, "validation": 8, "test": 30}
    given = {f"text {row}": (0, -1, -1, 1)[row % 4] for row in range(40)}
    for split in (data.train, data.validation):
        assert split["label"][:] == [given[text] for text in split["text"]]
    assert data.test["label"][:] == [0, 1] * 15


def test_a_label_column_in_which_no_row_has_a_label_counts_as_none(tmp_path):
    for labels in ([-1] * 20, [None] * 20):
        texts(20, labels).to_parquet(tmp_path / "train.parquet")
        data = load_data(tmp_path, labelled=False)
        assert (data.label_column, data.label_names, data.train.column_names) == (None, (), ["text"])
    (tmp_path / "blank.csv").write_text("text,label\n" + "".join(f"t{row},\n" for row in range(20)))
    assert load_data(tmp_path / "blank.csv", labelled=False).label_column is None


def test_blanks_among_the_numbers_of_a_csv_file_are_missing_labels(tmp_path):
    rows = [f"t{row},{'' if row % 4 == 3 else row % 2}" for row in range(40)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "test.csv").write_text("\n".join(["text,label", "a,1", "b,0", "c,1"]))
    data = load_data(tmp_path, labelled=False)
    assert (data.label_names, data.labelled_splits) == (("0", "1"), ("test",))
    assert data.test["label"][:] == [1, 0, 1]
    assert data.train["label"][:] == [(0, 1, 0, -1)[int(text[1:]) % 4] for text in data.train["text"]]


def test_labels_of_a_target_do_not_touch_its_splits(tmp_path):
    rows = {}
    for name, labels in (("some", [0] * 50 + [1] * 50), ("others", [1, 0] * 50), ("none", [-1] * 100)):
        (tmp_path / name).mkdir()
        texts(100, labels).to_parquet(tmp_path / name / "train.parquet")
        data = load_data(tmp_path / name, labelled=False)
        assert data.labelled_splits == (() if name == "none" else ("train", "validation", "test"))
        rows[name] = {split: list(getattr(data, split)["text"]) for split in data.sizes()}
    assert rows["some"] == rows["others"] == rows["none"]
    assert not set(rows["some"]["train"]) & set(rows["some"]["validation"])


@pytest.mark.parametrize("labelled", [True, False])
def test_classes_of_a_target_take_the_order_of_the_sources(tmp_path, labelled):
    texts(40, [0] * 10 + [1] * 30).to_parquet(tmp_path / "train.parquet")
    data = load_data(tmp_path, labelled=labelled, class_names=("good", "bad"))
    assert data.label_names == ("good", "bad")
    read = {
        text: label
        for split in data.sizes()
        for text, label in zip(*getattr(data, split).to_dict().values(), strict=True)
    }
    assert read == {f"text {row}": 1 if row < 10 else 0 for row in range(40)}
    with pytest.raises(DataError, match="only in the source: 'fair'; only in the target: 'good'"):
        load_data(tmp_path, labelled=labelled, class_names=("bad", "fair"))
    some = ("fair", "bad", "good")
    if labelled:
        with pytest.raises(DataError, match="only in the source: 'fair'"):
            load_data(tmp_path, labelled=labelled, class_names=some)
    else:
        assert load_data(tmp_path, labelled=labelled, class_names=some).label_names == some


def test_speakers_of_real_data_are_two_domains(shared):
    speakers = {"source": ["george", "jackson", "lucas"], "target": ["nicolas", "theo", "yweweler"]}
    data = {
        domain: load_data(shared / "data" / "fsdd", keep_rows={"speaker": names}, labelled=domain == "source")
        for domain, names in speakers.items()
    }
    for loaded in data.values():
        assert loaded.sizes() == {"train": 1080, "validation": 270, "test": 150}
        assert np.bincount(loaded.test["label"]).tolist() == [15] * 10
    first, second = ({row["bytes"] for row in loaded.test["audio"]} for loaded in data.values())
    assert first.isdisjoint(second)


def test_rows_chosen_by_their_class_leave_no_other_class(tmp_path):
    texts(40, [0] * 10 + [1] * 30).cast_column("label", ClassLabel(names=["bad", "good", "fair"])).to_parquet(
        tmp_path / "train.parquet"
    )
    assert load_data(tmp_path).label_names == ("bad", "good", "fair")
    some = load_data(tmp_path, keep_rows={"label": ["good", "bad"]})
    assert some.label_names == ("bad", "good")
    target = load_data(tmp_path, keep_rows={"label": ["good"]}, labelled=False, class_names=("good", "bad"))
    assert target.label_names == ("good", "bad")
    assert set(target.train["label"]) == {0}


def test_a_configuration_of_what_has_none_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"word {row},{'ab'[row % 2]}\n" for row in range(40)))
    for name in ("digits", str(tmp_path), str(tmp_path / "t.csv")):
        load_data(name)
        with pytest.raises(SettingsError, match=r"'spoken'.*Leave it out"):
            load_data(name, config_name="spoken")
