"""Rows of a stream: the same as loaded ones, one at a time, and what cannot be read is told by its place."""

import csv
import json
import re
import weakref
from pathlib import Path

import datasets
import numpy as np
import processes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, IterableDataset, Value
from hub.sharing_cases import image_processor, tokenizer
from PIL import Image as Pictures
from transformers import Wav2Vec2FeatureExtractor

from hf_transfer_kit.data import InputSizes, load_data, prepare_data
from hf_transfer_kit.data.streamed import StreamedData, StreamedRows, load_stream, stream_inputs
from hf_transfer_kit.errors import DataError, SettingsError

SPLITS = {"train": 6, "validation": 4, "test": 4}
NAMES = ["bad", "good"]


def picture(row: int) -> Pictures.Image:
    pixels = np.random.default_rng(row).integers(0, 256, (24 + row, 30, 3), dtype=np.uint8)
    return Pictures.fromarray(pixels)


def text(row: int) -> str:
    return " ".join(f"w{(row * 7 + place) % 20}" for place in range(2 + row % 5))


def texts(split: str) -> list[dict]:
    first = 10 * list(SPLITS).index(split)
    return [{"text": text(first + row), "label": NAMES[row % 2]} for row in range(SPLITS[split])]


def in_csv(folder):
    for split in SPLITS:
        with open(folder / f"{split}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(texts(split))
    return {"class_names": NAMES}


def in_json(folder):
    for split in SPLITS:
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts(split)))
    return {"class_names": NAMES}


def numbered_in_csv(folder):
    for split in SPLITS:
        rows = [f"{row['text']},{3 + 4 * NAMES.index(row['label'])}" for row in texts(split)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return {"class_names": ["3", "7"]}


def pairs_in_parquet(folder):
    features = Features({"premise": Value("string"), "answer": Value("string"), "label": ClassLabel(names=NAMES)})
    for split in SPLITS:
        rows = [{"premise": row["text"], "answer": row["text"][::-1], "label": row["label"]} for row in texts(split)]
        Dataset.from_list(rows, features=features).to_parquet(folder / f"{split}.parquet")
    return {"input_column": "premise,answer"}


def pictures_in_parquet(folder):
    """Each split with its own order of the classes, which are matched by name."""
    for split, rows in SPLITS.items():
        features = Features({"image": Image(), "label": ClassLabel(names=NAMES[:: -1 if split == "test" else 1])})
        of_split = [{"image": picture(row), "label": NAMES[row % 2]} for row in range(rows)]
        Dataset.from_list(of_split, features=features).to_parquet(folder / f"{split}.parquet")
    return {}


def pictures_in_folders(folder):
    for split, rows in SPLITS.items():
        for row in range(rows):
            place = folder / split / NAMES[row % 2] / f"{row}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            picture(row).save(place)
    return {}


def pictures_on_disk(folder):
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES)})
    rows = {
        split: Dataset.from_list([{"image": picture(row), "label": row % 2} for row in range(count)], features=features)
        for split, count in SPLITS.items()
    }
    DatasetDict(rows).save_to_disk(folder)
    return {}


def sounds_in_folders(folder):
    soundfile = pytest.importorskip("soundfile")
    for split, rows in SPLITS.items():
        for row in range(rows):
            place = folder / split / NAMES[row % 2] / f"{row}.wav"
            place.parent.mkdir(parents=True, exist_ok=True)
            wave = np.random.default_rng(row).uniform(-0.5, 0.5, 1500 + 900 * row)
            soundfile.write(place, wave, 8000)
    return {}


SOURCES = [
    in_csv,
    in_json,
    numbered_in_csv,
    pairs_in_parquet,
    pictures_in_parquet,
    pictures_in_folders,
    pictures_on_disk,
    sounds_in_folders,
]


def prepared(data: StreamedData, **sizes) -> object:
    processors = {"image": image_processor, "text": tokenizer, "audio": Wav2Vec2FeatureExtractor}
    return stream_inputs(data, processors[data.modality](), InputSizes(**sizes))


@pytest.mark.parametrize("source", SOURCES)
def test_streamed_rows_are_the_loaded_ones(source, tmp_path):
    given = source(tmp_path)
    names = given.pop("class_names", ())
    sizes = {"max_seconds": 0.4} if source is sounds_in_folders else {}
    loaded = load_data(tmp_path, **given)
    data = load_stream(tmp_path, class_names=names, **given)
    inputs = prepared(data, **sizes)
    expected = prepare_data(loaded, inputs.processor, **sizes)
    assert (data.label_names, data.input_columns, data.modality) == (
        loaded.label_names,
        loaded.input_columns,
        loaded.modality,
    )
    for split, count in SPLITS.items():
        rows = StreamedRows(data, split, inputs)
        first, again = list(rows), list(rows)
        assert len(first) == count
        kept = getattr(expected, split)
        for found in (first, again):
            batch, other = inputs.collator(found), expected.collator([kept[row] for row in range(count)])
            assert batch.keys() == other.keys()
            for name, values in batch.items():
                assert torch.equal(values, other[name]), (split, name)
    assert inputs.collator.fingerprint() == expected.collator.fingerprint()


def streamed(rows, features, split="train") -> StreamedData:
    """Streams made by hand: what ``rows()`` yields."""
    stream = IterableDataset.from_generator(rows, features=Features(features))
    places = {split: {0: 0, 1: 1} if isinstance(features["label"], ClassLabel) else {"bad": 0, "good": 1}}
    return StreamedData("made", "text", {split: stream}, ("text",), "label", tuple(NAMES), places)


def test_no_row_is_held_beyond_the_one_that_is_read():
    alive, most = weakref.WeakSet(), 0

    class Text(str):
        __slots__ = ("__weakref__",)

    class Stream:
        features = Features({"text": Value("string"), "label": ClassLabel(names=NAMES)})

        def iter(self, batch_size):
            for row in range(50):
                value = Text(text(row))
                alive.add(value)
                yield {"text": [value], "label": [row % 2]}
                del value

    data = StreamedData("made", "text", {"train": Stream()}, ("text",), "label", tuple(NAMES), {"train": {0: 0, 1: 1}})
    for _ in StreamedRows(data, "train", prepared(data)):
        most = max(most, len(alive))
    assert most <= 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"text": None}, "Row 3 of train cannot be read: nothing is there in column 'text'. Mend it, or leave such"),
        ({"text": "  "}, "Row 3 of train cannot be read: the text is empty in column 'text'"),
        ({"label": None}, "Row 3 of train has no label in 'label'"),
        ({"label": ""}, "Row 3 of train has no label in 'label'"),
        (
            {"label": "ugly"},
            "Row 3 of train has the label 'ugly' in 'label', which is none of the classes 'bad', 'good'",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_told_with_its_number(bad, message):
    def rows():
        for row in range(6):
            yield {"text": text(row), "label": NAMES[row % 2], **(bad if row == 3 else {})}

    data = streamed(rows, {"text": Value("string"), "label": Value("string")})
    read = StreamedRows(data, "train", prepared(data))
    with pytest.raises(DataError, match=re.escape(message)):
        list(read)
    skipping = StreamedRows(data, "train", prepared(data), skip=True)
    if "label" in bad:
        with pytest.raises(DataError, match="Row 3"):
            list(skipping)
    else:
        assert [row["labels"] for row in skipping] == [0, 1, 0, 0, 1]
        assert skipping.skipped == 1


def test_classes_that_are_numbers_beyond_their_names_are_refused():
    def rows():
        yield {"text": "w1", "label": 0}
        yield {"text": "w2", "label": -1}

    data = streamed(rows, {"text": Value("string"), "label": ClassLabel(names=NAMES)})
    with pytest.raises(DataError, match="Row 1 of train has no label"):
        list(StreamedRows(data, "train", prepared(data)))


def test_a_picture_that_is_none_is_told_or_left_out(tmp_path):
    pictures_in_folders(tmp_path)
    spoiled = sorted((tmp_path / "train").rglob("*.png"))[2]
    spoiled.write_bytes(b"no picture")
    data = load_stream(tmp_path)
    with pytest.raises(DataError, match="Row 2 of train cannot be read: UnidentifiedImageError"):
        list(StreamedRows(data, "train", prepared(data)))
    rows = StreamedRows(data, "train", prepared(data), skip=True)
    assert (len(list(rows)), rows.skipped) == (5, 1)
    for file in (tmp_path / "train").rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="No row of train can be read"):
        list(StreamedRows(data, "train", prepared(data), skip=True))


def test_a_stream_that_breaks_off_or_is_empty_is_told():
    def breaking():
        yield {"text": "w1", "label": 0}
        raise OSError("the line is dead")

    kinds = {"text": Value("string"), "label": ClassLabel(names=NAMES)}
    data = streamed(breaking, kinds)
    with pytest.raises(DataError, match="made cannot be read beyond 1 rows of train: the line is dead"):
        list(StreamedRows(data, "train", prepared(data)))
    data = streamed(lambda: iter(()), kinds)
    with pytest.raises(DataError, match="The split train of made has no rows"):
        list(StreamedRows(data, "train", prepared(data)))


def test_files_with_other_lists_of_classes_are_refused(tmp_path):
    for part, names in enumerate((NAMES, NAMES[::-1])):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        Dataset.from_list(texts("train"), features=features).to_parquet(tmp_path / f"train-{part}.parquet")
    with pytest.raises(DataError, match=r"train-0.parquet and train-1.parquet differ in columns, types or lists"):
        load_stream(tmp_path)


@pytest.mark.parametrize(
    ("source", "names", "message"),
    [
        (in_csv, (), "holds string and does not name its classes.* --class_names"),
        (in_csv, ("bad",), "give two or more names"),
        (in_csv, ("bad", "good", "bad"), "each of them once"),
        (pictures_in_folders, NAMES, "has classes with names in train.* Leave the names of classes out"),
    ],
)
def test_classes_are_known_before_a_row_is_read(source, names, message, tmp_path):
    source(tmp_path)
    with pytest.raises(SettingsError, match=message):
        load_stream(tmp_path, class_names=names)


def test_sounds_need_a_longest(tmp_path):
    sounds_in_folders(tmp_path)
    with pytest.raises(SettingsError, match="max_seconds is missing"):
        prepared(load_stream(tmp_path))


def test_a_table_is_not_read_before_its_rows_are_asked_for(tmp_path, monkeypatch):
    in_json(tmp_path)
    monkeypatch.setattr(datasets.Dataset, "from_file", lambda *args, **kwargs: pytest.fail("all rows were read"))
    data = load_stream(tmp_path, class_names=NAMES)
    assert all(isinstance(stream, IterableDataset) for stream in data.splits.values())


def test_what_is_read_of_a_parquet_file_is_not_kept(tmp_path):
    """160 MB of noise in one file; Arrow's reader would hold what it has read until the file ends."""
    program = """
import sys
from hf_transfer_kit.data.streamed import load_stream

held = []
for row, _ in enumerate(load_stream(sys.argv[1]).splits["train"]):
    if row % 100 == 50:
        with open("/proc/self/statm") as file:
            held.append(int(file.read().split()[1]) * 4096 >> 20)
print(max(held) - held[0])
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not say what a process holds")
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES)})
    schema = features.arrow_schema
    noise = np.random.default_rng(0)
    with pq.ParquetWriter(tmp_path / "train.parquet", schema, compression="none") as writer:
        for _ in range(20):
            rows = [{"image": {"bytes": noise.bytes(80_000), "path": None}, "label": row % 2} for row in range(100)]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    done = processes.run(["-c", program, tmp_path])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 80
