"""Streams to train on: the batches of one reader for any number of them, held rows apart, never in order of classes."""

from itertools import chain, islice, pairwise

import numpy as np
import pytest
import torch
from data.test_streamed import NAMES, SOURCES, pictures_in_parquet, prepared, sounds_in_folders, streamed, text
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from torch.utils.data import DataLoader

from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.data.held_rows import OrderCheck, hold_rows
from hf_transfer_kit.data.streamed import load_stream
from hf_transfer_kit.data.training_stream import TrainingStream, shuffled
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.values.rows import DealtStream

FEATURES = {"text": Value("string"), "label": ClassLabel(names=NAMES)}
ROWS = 19


def stream_of(rows=ROWS, label=lambda row: row % 2, words=lambda row: f"w{row}"):
    def given():
        for row in range(rows):
            yield {"text": words(row), "label": label(row)}

    return streamed(given, FEATURES)


def training(**options):
    data = stream_of()
    return TrainingStream(data, prepared(data), **{"held": 3, "buffer": 5, "seed": 7, **options})


def words_of_vocabulary():
    data = stream_of()
    inputs = prepared(data)
    return [inputs.rows([f"w{row}"])[0]["input_ids"][0] for row in range(ROWS)]


def drawn(stream, rows, **loader):
    """Places of the first rows, batch by batch, that a loader gives."""
    vocabulary = {token: place for place, token in enumerate(words_of_vocabulary())}
    batches = DataLoader(stream, collate_fn=lambda rows: [vocabulary[row["input_ids"][0]] for row in rows], **loader)
    found = []
    for batch in batches:
        found.append(batch)
        if sum(map(len, found)) >= rows:
            break
    return found


def test_a_pass_holds_every_row_once_but_those_held_out_and_passes_differ():
    (found,) = drawn(training(), 48, batch_size=48)
    passes = [found[:16], found[16:32], found[32:]]
    assert all(sorted(one) == list(range(3, 19)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3
    assert drawn(training(), 48, batch_size=48) == [found]
    assert drawn(training(seed=8), 48, batch_size=48) != [found]
    (in_order,) = drawn(training(buffer=1), 16, batch_size=16)
    assert in_order == list(range(3, 19))


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_any_number_of_readers_reads_the_batches_of_one(workers, parts):
    size = 5
    expected = drawn(training(), 50, batch_size=size)
    ends = [size * part // parts for part in range(parts + 1)]
    dealt = [
        drawn(
            training().dealt(size, range(first, end)), 10 * (end - first), batch_size=end - first, num_workers=workers
        )
        for first, end in pairwise(ends)
    ]
    joined = [list(chain(*batches)) for batches in zip(*dealt, strict=True)]
    assert joined == expected
    assert isinstance(training(), DealtStream)


def test_rows_that_cannot_be_read_are_left_out_or_end_the_run():
    data = stream_of(words=lambda row: "  " if row % 4 == 0 else f"w{row}")
    rows = TrainingStream(data, prepared(data), buffer=1, skip=True)
    taken = [row for row, _ in zip(rows, range(14), strict=False)]
    assert len({row["input_ids"][0] for row in taken}) == 14
    with pytest.raises(DataError, match="Row 0 of train cannot be read: the text is empty"):
        next(iter(TrainingStream(data, prepared(data), buffer=1)))
    nothing = stream_of(words=lambda row: " ")
    with pytest.raises(DataError, match="No row of train can be read"):
        next(iter(TrainingStream(nothing, prepared(nothing), skip=True)))


def test_a_change_is_made_of_the_only_input(tmp_path):
    data = load_stream(tmp_path, **pictures_in_parquet(tmp_path))
    rows = TrainingStream(data, prepared(data), buffer=1)
    changed = TrainingStream(data, prepared(data), buffer=1, change=lambda pixels: 255 - pixels)
    for row, other in zip(rows, islice(changed, 9), strict=False):
        assert torch.equal(255 - row["pixel_values"], other["pixel_values"])
        assert row["labels"] == other["labels"]


def test_a_stream_without_rows_to_train_on_says_so():
    with pytest.raises(DataError, match="made has no row to train on beside the first 19 of train"):
        next(iter(training(held=19)))
    with pytest.raises(SettingsError, match="buffer"):
        training(buffer=0)


def test_a_buffer_draws_among_its_rows_alone():
    found = list(shuffled(range(100), 4, np.random.default_rng(0)))
    assert sorted(found) == list(range(100))
    # A row comes early by no more than the others that are held.
    assert max(row - place for place, row in enumerate(found)) == 3
    assert list(shuffled(range(9), 1, np.random.default_rng(0))) == list(range(9))


def sorted_by_class(rows, classes=2):
    return [row * classes // rows for row in range(rows)]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([0] * 400, "the first 400 are all of one class of 3"),
        (sorted_by_class(400), "the first 400 change their class 1 times, where 200 are to be expected"),
        (sorted_by_class(400, 3), "the first 400 change their class 2 times, where 266 are to be expected"),
        ([row // 20 % 3 for row in range(400)], "change their class 19 times"),
        (np.random.default_rng(0).integers(0, 3, 400).tolist(), None),
        ([row % 3 for row in range(400)], None),
        ((np.random.default_rng(1).random(400) < 0.02).astype(int).tolist(), None),
        (sorted_by_class(99), None),
    ],
)
def test_rows_in_the_order_of_their_classes_are_told(labels, found):
    check = OrderCheck("Rows", ["a", "b", "c"], rows=len(labels))

    def look():
        for label in labels:
            check.see(label)

    if found is None:
        look()
        return
    with pytest.raises(DataError, match=found):
        look()


def test_training_on_a_stream_that_is_sorted_by_class_ends_before_it_goes_wrong():
    data = stream_of(4000, label=lambda row: int(row >= 2000), words=text)
    rows = TrainingStream(data, prepared(data), buffer=50)
    with pytest.raises(DataError, match="The rows drawn for training come in the order of their classes"):
        for _ in zip(rows, range(1200), strict=False):
            pass
    mixed = TrainingStream(data, prepared(data), buffer=4000)
    assert sum(row["labels"] for row, _ in zip(mixed, range(1200), strict=False)) == pytest.approx(600, abs=80)


def stored(folder, **splits):
    features = Features(FEATURES)
    DatasetDict(
        {
            split: Dataset.from_list(
                [{"text": f"w{row % 20} {split[:1]}", "label": row % 2} for row in range(count)], features=features
            )
            for split, count in splits.items()
        }
    ).save_to_disk(folder)
    return load_stream(folder)


@pytest.mark.parametrize(
    ("splits", "held", "taken", "notes"),
    [
        ({"train": 40}, 10, {"validation": range(5), "test": range(5, 10)}, 2),
        ({"train": 40, "test": 3}, 5, {"validation": range(5), "test": range(3)}, 1),
        ({"train": 40, "validation": 9}, 5, {"validation": range(5), "test": range(5)}, 2),
        ({"train": 40, "validation": 5, "test": 4}, 0, {"validation": range(5), "test": range(4)}, 0),
    ],
)
def test_held_rows_are_the_first_of_their_split_or_else_of_train(tmp_path, splits, held, taken, notes):
    loaded, count, said = hold_rows(stored(tmp_path, **splits), {"validation": 5, "test": 5})
    assert (count, len(said)) == (held, notes)
    for split, rows in taken.items():
        assert loaded.given_rows[split] == tuple(rows)
        origin = split if split in splits else "train"
        assert getattr(loaded, split)["text"] == [f"w{row % 20} {origin[:1]}" for row in rows]
        assert getattr(loaded, split)["label"] == [row % 2 for row in rows]
    assert loaded.train["text"][0] == f"w{held} t"
    assert loaded.sizes() == {split: len(rows) for split, rows in taken.items()}
    assert set(loaded.fingerprints()) == set(taken)


def test_what_cannot_be_held_is_told(tmp_path):
    with pytest.raises(DataError, match="has only 8 rows in train, of which 10 were to be held out"):
        hold_rows(stored(tmp_path / "few", train=8), {"validation": 5, "test": 5})
    with pytest.raises(DataError, match="has no row to train on beside the 10 of train that are held out"):
        hold_rows(stored(tmp_path / "all", train=10), {"validation": 5, "test": 5})
    by_class = stream_of(400, label=lambda row: int(row >= 200), words=text)
    with pytest.raises(DataError, match="The rows of train that would be held out for validation come in the order"):
        hold_rows(by_class, {"validation": 150, "test": 100})
    bad = stream_of(60, words=lambda row: " " if row == 4 else text(row))
    with pytest.raises(DataError, match="Row 4 of train cannot be read"):
        hold_rows(bad, {"validation": 10, "test": 10})
    loaded, held, _ = hold_rows(bad, {"validation": 10, "test": 10}, skip=True)
    assert (held, loaded.skipped_rows, loaded.sizes()) == (20, 1, {"validation": 9, "test": 10})
    assert loaded.given_rows["validation"] == (0, 1, 2, 3, 5, 6, 7, 8, 9)


@pytest.mark.parametrize("source", SOURCES)
def test_held_rows_are_the_loaded_ones_whatever_holds_them(source, tmp_path):
    given = source(tmp_path)
    names = given.pop("class_names", ())
    sizes = {"max_seconds": 0.4} if source is sounds_in_folders else {}
    data = load_stream(tmp_path, class_names=names, **given)
    processor = prepared(data, **sizes).processor
    held, _, _ = hold_rows(data, {"validation": 4, "test": 4})
    found, expected = (prepare_data(one, processor, **sizes) for one in (held, load_data(tmp_path, **given)))
    assert found.label_names == expected.label_names
    for split in ("validation", "test"):
        rows, others = getattr(found, split), getattr(expected, split)
        batch, other = (
            one.collator([kept[row] for row in range(4)]) for one, kept in ((found, rows), (expected, others))
        )
        assert batch.keys() == other.keys()
        assert all(torch.equal(batch[name], other[name]) for name in batch), split
