"""scripts/extract_features.py as a user runs it."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import tiny
import torch
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
