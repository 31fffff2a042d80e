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


def test_the_small_network_goes_from_mnist_to_mnist_m(shared, tmp_path):
    found = adapted(
        tmp_path,
        *("--source", shared / "data" / "mnist", "--target", shared / "data" / "mnist_m"),
        *("--validation_size", 0.1, "--per_device_train_batch_size", 64, "--max_steps", 600, "--evaluations", 3),
        *("--method", "dann:view=1"),
    )
    gain = found["dann:view=1"]["test"]["accuracy"] - found["source_only"]["test"]["accuracy"]
    assert gain >= 0.15, gain
    assert found["target_supervised"]["test"]["accuracy"] >= 0.93


def test_an_imagenet_network_goes_from_photos_to_cartoons(shared, tmp_path):
    found = adapted(
        tmp_path,
        *("--source", shared / "data" / "pacs/photo", "--target", shared / "data" / "pacs/cartoon"),
        *(
            "--model_name_or_path",
            shared / "pretrained" / "mobilenetv2_100_imagenet",
            "--image_size",
            96,
            "--max_steps",
            60,
            "--evaluations",
            3,
        ),
        *("--per_device_train_batch_size", 16, "--method", "mcc", "shallow:alignment=coral"),
    )
    assert found["chosen"] == "mcc"
    source_only = found["source_only"]["test"]["accuracy"]
    assert found["mcc"]["test"]["accuracy"] - source_only >= 0.10
    assert found["shallow:alignment=coral"]["test"]["accuracy"] > source_only
