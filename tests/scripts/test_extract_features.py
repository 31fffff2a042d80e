"""scripts/extract_features.py as a user runs it."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file
from scripts.test_scripts import run

from hf_transfer_kit.data import load_data, prepare_data


def extract(*flags, **how):
    return run("extract_features.py", *flags, ok=False, **how)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A tiny checkpoint with its processor."""
    from transformers import ViTImageProcessor

    folder = tmp_path_factory.mktemp("network")
    tiny.TRANSFORMERS["resnet"]()[0].save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_both_formats_hold_the_same_rows_and_the_second_run_reads_the_first_ones_cache(network, tmp_path):
    flags = [
        "--model_name_or_path",
        network,
        "--dataset",
        "digits_m",
        "--train_size",
        "50",
        "--cache_dir",
        tmp_path / "cache",
    ]
    done = extract(*flags, "--output_dir", tmp_path / "arrow", "--use_cpu", cold=True)
    assert done.returncode == 0, done.stderr
    second = [
        *flags,
        "--format",
        "safetensors",
        "--output_dir",
        tmp_path / "tensors",
        "--use_cpu",
        "--ddp_backend",
        "gloo",
    ]
    done = extract(*second, ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The features are in") == 1

    first, again = (json.loads((tmp_path / name / "features.json").read_text()) for name in ("arrow", "tensors"))
    assert [split["rows"] for split in first["splits"].values()] == [50, 134, 271]
    assert first["splits"]["test"] == {**first["splits"]["test"], "file": "test.arrow", "shape": [16]}
    assert again["splits"]["test"]["fingerprint"] == first["splits"]["test"]["fingerprint"]
    assert again["splits"]["test"]["seconds"] == 0

    rows = datasets.Dataset.from_file(str(tmp_path / "arrow" / "test.arrow")).with_format("numpy")
    tensors = load_file(tmp_path / "tensors" / "test.safetensors")
    assert np.array_equal(rows["features"][:], tensors["features"].numpy())
    assert np.array_equal(rows["labels"][:], tensors["labels"].numpy())
    model = tiny.tf.ResNetForImageClassification.from_pretrained(network).eval()
    data = prepare_data(load_data("digits_m", train_size=50), tiny.tf.ViTImageProcessor.from_pretrained(network))
    batch = data.collator([data.test[row] for row in range(4)])
    with torch.no_grad():
        expected = model.resnet(batch["pixel_values"]).pooler_output.flatten(1)
    torch.testing.assert_close(tensors["features"][:4], expected, atol=1e-5, rtol=0)
    assert not list(tmp_path.rglob("*.unfinished"))

    done = extract(*flags, "--output_dir", tmp_path / "arrow")
    assert done.returncode == 2
    assert "holds features already" in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dtype", "bfloat16"], "Arrow has no bfloat16"),
        (["--layer", "7"], "layer=7 is no layer group of ResNet"),
    ],
)
def test_what_cannot_be_written_is_refused_with_a_sentence(network, tmp_path, flags, message):
    given = ["--model_name_or_path", network, "--dataset", "digits", "--output_dir", tmp_path / "out", *flags]
    done = extract(*given, "--cache_dir", tmp_path / "cache")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Folders of train, validation and test pictures; one of train is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for split, rows in {"train": 11, "validation": 4, "test": 5}.items():
        for row in range(rows):
            place = folder / split / "ab"[row % 2] / f"{row}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(row).integers(0, 256, (40, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place)
    (folder / "train" / "a" / "4.png").write_bytes(b"no picture")
    return folder


def test_streamed_features_are_those_of_loaded_rows(network, pictures, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", pictures, "--skip_bad_rows", "--use_cpu", "--layer", "1"]
    flags += ["--per_device_eval_batch_size", "4"]
    done = extract(*flags, "--cache_dir", tmp_path / "cache", "--output_dir", tmp_path / "loaded")
    assert done.returncode == 0, done.stderr
    done = extract(*flags, "--streaming", "--output_dir", tmp_path / "streamed")
    assert done.returncode == 0, done.stderr

    loaded, streamed = (json.loads((tmp_path / name / "features.json").read_text()) for name in ("loaded", "streamed"))
    assert {split: told["rows"] for split, told in streamed["splits"].items()} == {
        "train": 10,
        "validation": 4,
        "test": 5,
    }
    assert {split: told["skipped_rows"] for split, told in streamed["splits"].items()} == {
        "train": 1,
        "validation": 0,
        "test": 0,
    }
    for split, told in streamed["splits"].items():
        assert told["shape"] == loaded["splits"][split]["shape"]
        found, expected = (
            datasets.Dataset.from_file(str(tmp_path / name / f"{split}.arrow")) for name in ("streamed", "loaded")
        )
        assert found.features == expected.features
        assert found["labels"][:] == expected["labels"][:]
        assert np.array_equal(np.array(found["features"][:]), np.array(expected["features"][:]))
    assert not list((tmp_path / "streamed").rglob("shard*"))

    done = extract(*flags, "--streaming", "--only_splits", "test", "--output_dir", tmp_path / "test")
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "test").glob("*.arrow")) == ["test.arrow"]


def test_a_stream_that_ends_in_a_bad_row_leaves_nothing(network, pictures, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", pictures, "--streaming", "--output_dir", tmp_path / "out"]
    done = extract(*flags)
    assert done.returncode == 2, done.stderr
    assert "Row 3 of train cannot be read: UnidentifiedImageError" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "safetensors"], "--format safetensors holds one tensor a column"),
        (["--train_size", "5"], "cannot honour --train_size (a stream is read in the splits that it has, whole)"),
        (["--cache_dir", "cache"], "cannot honour --cache_dir (a stream is kept nowhere)"),
        (["--class_names", "a", "b"], "has classes with names in train, validation, test. Leave the names"),
    ],
)
def test_what_needs_all_rows_is_refused_beside_streaming(network, pictures, tmp_path, flags, message):
    given = ["--model_name_or_path", network, "--dataset", pictures, "--streaming", "--output_dir", tmp_path / "out"]
    done = extract(*given, *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flags", [["--class_names", "a", "b"]])
def test_what_is_for_streams_is_refused_without_one(network, pictures, tmp_path, flags):
    given = ["--model_name_or_path", network, "--dataset", pictures, "--output_dir", tmp_path / "out"]
    done = extract(*given, *flags)
    assert done.returncode == 2
    assert "--class_names does nothing without --streaming" in done.stderr


def test_several_processes_do_not_read_one_stream(network, pictures, tmp_path):
    given = ["--model_name_or_path", network, "--dataset", pictures, "--streaming", "--output_dir", tmp_path / "out"]
    done = extract(*given, "--use_cpu", "--ddp_backend", "gloo", ranks=2)
    assert done.returncode != 0
    assert "--streaming reads its rows in one process, but there are 2" in done.stderr
