"""A fingerprint is the same in every process and changes with every weight, row and transform."""

import json
import os
import string
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from features import fingerprint_values as examples
from torch.utils.data import Subset
from transformers import DataCollatorWithPadding, Wav2Vec2FeatureExtractor

from hf_transfer_kit.data.collating import TextCollator, WaveCollator
from hf_transfer_kit.data.memory import Lazily, Rows
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.features import combined, data_fingerprint, transform_fingerprint, weights_fingerprint


def different(*fingerprints):
    assert all(len(one) == 32 and set(one) <= set(string.hexdigits) for one in fingerprints)
    return len(set(fingerprints)) == len(fingerprints)


def test_another_process_finds_the_same_fingerprints_and_all_differ():
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "7"}
    program = [sys.executable, examples.__file__]
    output = subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout
    here = examples.fingerprints()
    assert json.loads(output) == here
    assert different(*here.values())


def test_weights_change_with_one_number_a_name_a_dtype_and_a_shape():
    weights = examples.weights()
    changed = {name: value.clone() for name, value in weights.items()}
    changed["weight"][1, 2] = torch.nextafter(changed["weight"][1, 2], torch.tensor(9.0))
    assert different(
        weights_fingerprint(weights),
        weights_fingerprint(changed),
        weights_fingerprint({**weights, "weight": weights["weight"].T}),
        weights_fingerprint({**weights, "half": weights["half"].view(torch.float16)}),
        weights_fingerprint({"other" if name == "half" else name: value for name, value in weights.items()}),
        weights_fingerprint({name: value for name, value in weights.items() if name != "count"}),
        weights_fingerprint({**weights, "empty": torch.empty(0, 3)}),
        weights_fingerprint({}),
    )


def test_weights_count_by_value_not_by_order_or_memory_layout():
    weights = examples.weights()
    other = {name: weights[name] for name in reversed(weights)}
    other["weight"] = torch.nn.Parameter(weights["weight"].T.contiguous().T)
    assert not other["weight"].is_contiguous()
    assert weights_fingerprint(weights) == weights_fingerprint(other)


def test_weights_without_bytes_are_refused_by_name():
    with pytest.raises(ModelError, match=r"weights of a\.weight cannot be read: they are on meta"):
        weights_fingerprint({"a.weight": torch.empty(2, device="meta")})


@pytest.mark.parametrize("settings", [{}, {"memory_limit": 100}], ids=["held", "lazy"])
def test_prepared_images_change_with_one_pixel_one_label_one_row_and_the_crop(settings):
    train = examples.digits(**settings).train
    before = data_fingerprint(train)
    assert before == data_fingerprint(examples.digits(**settings).train)
    assert train.fingerprint() == examples.digits(**settings).train.fingerprint()
    classes = train.classes.copy()
    classes[3] = (classes[3] + 1) % 10
    fewer = Rows(
        train.values[:-1] if not settings else Lazily(train.values.column[:-1], train.values.decode),
        classes[:-1],
        train.name,
    )
    others = [
        Rows(train.values, classes, train.name),
        fewer,
        Rows(train.values, train.classes, train.name, change=examples.digits(augment=True).train.change),
        examples.digits(image_size=17, **settings).train,
    ]
    assert different(before, *map(data_fingerprint, others))
    if not settings:
        train.values[400, 1, 3, 3] += 1
        assert data_fingerprint(train) != before


def test_pictures_decoded_when_asked_for_count_by_their_stored_bytes():
    lazy = examples.digits(memory_limit=100).train.values
    assert isinstance(lazy, Lazily)
    stored = list(lazy.column)
    before = data_fingerprint(lazy)
    assert data_fingerprint(Lazily(stored, lazy.decode)) == before
    damaged = {**stored[5], "bytes": stored[5]["bytes"][:-1] + b"\0"}
    assert data_fingerprint(Lazily([*stored[:5], damaged, *stored[6:]], lazy.decode)) != before


def test_rows_of_plain_python_change_with_anything_in_them():
    def changed(row, **values):
        rows = examples.rows()
        rows[row] = {**rows[row], **values}
        return data_fingerprint(rows)

    assert data_fingerprint(examples.rows()) == changed(1, labels=1)
    assert different(
        data_fingerprint(examples.rows()),
        changed(1, labels=2),
        changed(1, labels=None),
        changed(1, tokens=[1, 2, 9]),
        changed(1, tokens=[1, 2.0, 1]),
        changed(1, tokens=[[1, 2], 1]),
        changed(1, tokens=[1, 2, 2**70]),
        changed(1, image=examples.picture(9)),
        changed(2, x=torch.tensor([0.0, 1.0, 2.5])),
        changed(2, x=torch.arange(3.0).double()),
        changed(2, x=np.arange(3.0)),
        changed(2, y=1),
        data_fingerprint(examples.rows(2)),
        data_fingerprint(examples.rows()[::-1]),
        data_fingerprint(Subset(examples.rows(), [0, 1])),
        data_fingerprint(Subset(examples.rows(), [1, 0])),
    )


def test_equal_bytes_of_another_kind_or_shape_are_not_the_same():
    zeros = [torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(6), torch.zeros(2, 3, dtype=torch.int32)]
    assert different(*(data_fingerprint([{"x": value}]) for value in [*zeros, *(value.numpy() for value in zeros)]))
    assert different(*map(data_fingerprint, (["ab", "c"], ["a", "bc"], [["ab"], "c"], ["ab", ["c"]], [b"ab", b"c"])))
    assert different(*map(data_fingerprint, ([1], [1.0], [True], ["1"], [None], [[]], [{}], [])))


def test_the_order_of_keys_and_of_sets_does_not_matter():
    backwards = [{name: row[name] for name in reversed(row)} for row in examples.rows()]
    assert data_fingerprint(backwards) == data_fingerprint(examples.rows())
    names = [f"class {number}" for number in range(40)]
    assert data_fingerprint(examples.Squares(3, names)) == data_fingerprint(examples.Squares(3, names[::-1]))
    assert data_fingerprint(examples.Squares(3, names)) != data_fingerprint(examples.Squares(3, names[1:]))


def test_datasets_change_with_rows_format_and_transform():
    data = Dataset.from_dict({"x": [1, 2, 3], "label": [0, 1, 0]})
    assert different(
        data_fingerprint(data),
        data_fingerprint(Dataset.from_dict({"x": [1, 2, 3], "label": [0, 1, 1]})),
        data_fingerprint(data.with_format("torch")),
        data_fingerprint(data.with_format("torch", columns=["x"])),
        data_fingerprint(data.with_transform(lambda batch: batch)),
        data_fingerprint(data.with_transform(lambda batch: {"x": batch["x"]})),
        data_fingerprint(data.shuffle(seed=1)),
    )


def test_a_file_named_in_the_rows_counts_by_its_change(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(b"one")
    before = data_fingerprint([{"path": str(file)}])
    assert before == data_fingerprint([{"path": str(file)}])
    file.write_bytes(b"other")
    assert data_fingerprint([{"path": str(file)}]) != before


@pytest.mark.parametrize("wrap", [TextCollator, DataCollatorWithPadding])
def test_a_tokenizer_counts_by_vocabulary_and_padding_not_by_what_it_padded(wrap):
    used = examples.tokenizer()
    before = transform_fingerprint(wrap(used))
    used(["good film", "bad"], padding="max_length", max_length=7, truncation=True)
    assert transform_fingerprint(wrap(used)) == before
    others = [
        examples.tokenizer(("good", "bad", "book")),
        examples.tokenizer(("bad", "good", "film")),
        examples.tokenizer(padding_side="left"),
        examples.tokenizer(model_max_length=9),
    ]
    assert different(before, *(transform_fingerprint(wrap(other)) for other in others))


def test_image_and_wave_transforms_change_with_their_settings():
    geometry = examples.digits().collator
    assert transform_fingerprint(geometry) == transform_fingerprint(examples.digits().collator)
    assert different(
        transform_fingerprint(geometry),
        transform_fingerprint(examples.digits(image_size=17).collator),
        transform_fingerprint(WaveCollator(Wav2Vec2FeatureExtractor())),
        transform_fingerprint(WaveCollator(Wav2Vec2FeatureExtractor(do_normalize=False))),
    )


def test_one_that_says_its_fingerprint_is_asked():
    class Known(list):
        def fingerprint(self):
            return "version 3"

    assert data_fingerprint(Known([1])) == data_fingerprint(Known([2]))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"x": threading.Lock()}], r"holds a _thread\.lock, whose contents cannot be read\. Give fingerprint=\"any"),
        ([{"x": torch.empty(1, device="meta")}], r"holds a tensor on meta of layout"),
        ([{"x": (number for number in range(3))}], r"holds a .*generator, whose contents"),
        (iter([]), "list_iterator has no length"),
    ],
)
def test_what_cannot_be_read_asks_for_a_name(rows, sentence):
    with pytest.raises(SettingsError, match=sentence):
        data_fingerprint(rows)


def test_a_key_keeps_its_parts_apart():
    assert different(
        combined("a", "b"), combined("ab"), combined("b", "a"), combined({"a": "b"}), combined(["a", "b"]), combined()
    )
    assert combined({"a": 1, "b": [2.5, None]}) == combined({"b": [2.5, None], "a": 1})
    with pytest.raises(SettingsError, match="plain JSON values"):
        combined({"a": torch.zeros(1)})
