"""finetune.py --streaming: one run on a stream, the same with workers, ranks and after a kill; else a sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Pictures
from safetensors.torch import load_file
from scripts.test_scripts import network, run  # noqa: F401

from hf_transfer_kit.selection import STRATEGIES

FLAGS = ["--streaming", "--held_rows", "12", "--shuffle_buffer", "20", "--max_steps", "6", "--batch_size", "6"]
CHECKPOINTS = ["--save_strategy", "steps", "--save_steps", "2", "--resume_from_checkpoint", "true"]
NEEDS_ROWS = {
    # On a network with BatchNorm, whose statistics are gathered on rows that are asked for by number.
    **dict.fromkeys(("ema", "swa"), "TrainingStream is a stream without length and indices"),
    "co_tuning": "CoTuning looks at rows of the training data before the first step, and a TrainingStream is a stream",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two classes, told apart by brightness; test rows in a split of their own."""
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    features = Features({"image": Image(), "label": ClassLabel(names=["dark", "light"])})
    for split, rows in (("train", 60), ("test", 20)):
        labels = draw.integers(0, 2, rows)
        pictures = [draw.integers(100 * label, 100 * label + 100, (32, 32, 3), np.uint8) for label in labels]
        stored = {"image": [Pictures.fromarray(one) for one in pictures], "label": labels.tolist()}
        Dataset.from_dict(stored, features=features).to_parquet(folder / f"{split}.parquet")
    return folder


def finetune(network, photos, folder, *flags, **how):  # noqa: F811
    given = ["--model_name_or_path", network, "--dataset", photos, *FLAGS, *flags, "--output_dir", folder]
    return run("finetune.py", *given, **how)


@pytest.fixture(scope="module")
def whole(network, photos, tmp_path_factory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("whole")
    finetune(network, photos, folder, *CHECKPOINTS)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_report_says_what_was_read(whole):
    report = json.loads((whole / "report.json").read_text())
    assert report["data"]["sizes"] == {"validation": 12, "test": 12}
    assert set(report["data"]["fingerprints"]) == {"validation", "test"}
    assert [result["strategy"] for result in report["results"]] == ["full"]
    card = (whole / "README.md").read_text()
    assert "The rows to train on are a stream, of which 36 are drawn." in card
    assert "The validation rows are 12 at the beginning of train, which is a stream." in card
    assert "The test rows are 12 at the beginning of test, which is a stream." in card


def test_a_killed_run_goes_on_with_the_rows_that_would_have_come(whole, network, photos, tmp_path):  # noqa: F811
    folder = tmp_path / "killed"
    shutil.copytree(whole, folder)
    for left in ("report.json", "model.safetensors"):
        (folder / left).unlink()
    shutil.rmtree(folder / "checkpoint-6")
    done = finetune(network, photos, folder, *CHECKPOINTS)
    assert "goes on from checkpoint-4" in done.stdout
    first, second = weights(whole), weights(folder)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_workers_give_the_same_network(whole, network, photos, tmp_path):  # noqa: F811
    finetune(network, photos, tmp_path, "--dataloader_num_workers", "2")
    first, second = weights(whole), weights(tmp_path)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_two_ranks_give_the_network_of_one(network, photos, tmp_path):  # noqa: F811
    # The normalisation of a batch sees a rank's own rows: it stays as it was.
    flags = ["--strategy", "head_only", "--batch_size", "5"]
    finetune(network, photos, tmp_path / "one", *flags)
    finetune(network, photos, tmp_path / "two", *flags, ranks=2)
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    found = [
        json.loads((tmp_path / name / "report.json").read_text())["results"][0]["curve"] for name in ("one", "two")
    ]
    for one, two in zip(*found, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"text_head"}))
def test_every_strategy_trains_on_a_stream_or_says_why_not(name, network, photos, tmp_path):  # noqa: F811
    done = finetune(network, photos, tmp_path, "--strategy", name, ok=False)
    if name in NEEDS_ROWS:
        assert done.returncode in (1, 2), done.stdout
        assert NEEDS_ROWS[name] in done.stderr
        assert "Traceback" not in done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--strategy", "auto"], "--strategy auto measures rows again and again, which a stream does not keep"),
        (["--strategy", "freeze_first:auto"], "freeze_first:auto searches on rows again and again"),
        (["--max_steps", "-1"], "--streaming has no end that epochs could be counted by: give --max_steps"),
        (["--task_type", "regression"], "--streaming reads rows with classes, and --task_type is regression"),
        (["--class_weights", "balanced"], "cannot honour --class_weights (how many rows each class has is known"),
        (["--train_size", "10"], "cannot honour --train_size (rows of a stream are trained on as they come"),
        (["--validation_size", "0.1"], "a stream's rows are not counted; give --held_rows"),
        (["--old_classes", "kept"], "cannot honour --old_classes"),
        (["--held_rows", "60"], "has only 60 rows in train|has no row to train on"),
        (["--held_rows", "0"], "held_rows"),
        (["--streaming", "false"], "--held_rows does nothing without --streaming"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(flags, said, network, photos, tmp_path):  # noqa: F811
    done = finetune(network, photos, tmp_path, *flags, ok=False)
    assert done.returncode != 0, done.stdout
    assert any(part in done.stderr for part in said.split("|")), done.stderr
    assert not (tmp_path / "report.json").exists()
