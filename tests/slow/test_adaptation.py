"""Adaptation without target labels on real data: the results that the README states."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def adapted(output_dir: Path, *flags: object) -> dict[str, dict]:
    """Runs scripts/adapt.py; method -> its result."""
    command = [sys.executable, str(ROOT / "scripts" / "adapt.py"), *map(str, flags), "--output_dir", str(output_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((output_dir / "report.json").read_text())["adaptation"]
    return {**{result["method"]: result for result in report["results"]}, "chosen": report["chosen"]}


def test_digits_on_photographs_gain_at_least_ten_points(tmp_path):
    found = adapted(tmp_path, "--seeds", 0, 1)
    method = found["adamatch:source_weight=1"]
    assert found["chosen"] == method["method"]
    gains = [a - b for a, b in zip(method["test_by_seed"], found["source_only"]["test_by_seed"], strict=True)]
    assert min(gains) >= 0.10, gains
    assert [diagnosis["name"] for diagnosis in method["diagnoses"]] == ["healthy"]


def test_domain_adversarial_training_on_mnist_m_beats_the_source_alone(shared, tmp_path):
    """A fifth of the steps of the README's table."""
    flags = ["--source", shared / "data" / "mnist", "--target", shared / "data" / "mnist_m", "--validation_size", 0.1]
    found = adapted(
        tmp_path, *flags, "--method", "dann:view=1", "--max_steps", 600, "--per_device_train_batch_size", 64
    )
    gain = found["dann:view=1"]["test"]["accuracy"] - found["source_only"]["test"]["accuracy"]
    assert gain >= 0.15, found
    assert found["chosen"] == "dann:view=1"


def test_photos_adapt_to_cartoons(shared, tmp_path):
    flags = ["--source", shared / "data/pacs/photo", "--target", shared / "data/pacs/cartoon", "--image_size", 96]
    network = shared / "pretrained" / "mobilenetv2_100_imagenet"
    method = ["--method", "mcc", "--max_steps", 60, "--per_device_train_batch_size", 16]
    found = adapted(tmp_path, *flags, "--model_name_or_path", network, *method)
    assert found["mcc"]["test"]["accuracy"] >= found["source_only"]["test"]["accuracy"] + 0.10, found
