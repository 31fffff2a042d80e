"""Classes never seen on real data: the results that model_cards/README.md states."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def named(output_dir: Path, *flags: object) -> dict[str, dict]:
    """Runs scripts/zero_shot.py; method -> means over the splits."""
    command = [sys.executable, str(ROOT / "scripts" / "zero_shot.py"), *map(str, flags)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())}
    done = subprocess.run(
        [*command, "--output_dir", str(output_dir), "--cache_dir", str(output_dir / "cache")],
        capture_output=True, text=True, env=environment, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((output_dir / "report.json").read_text())["zero_shot"]
    figures = ("unseen_accuracy", "harmonic_mean", "generalised_seen_accuracy")
    return {
        result["method"]: {
            name: sum(split[name] for split in result["splits"]) / len(result["splits"]) for name in figures
        }
        for result in report["results"]
    }


def test_digits_are_named_by_their_strokes(tmp_path):
    found = named(tmp_path, "--method", "eszsl", "sae", "ale", "prototype")
    for method, figures in found.items():
        assert figures["unseen_accuracy"] >= 0.40, (method, figures)  # chance is 0.33
    assert found["ale"]["unseen_accuracy"] >= 0.50


def test_animals_are_named_by_their_attributes(shared, tmp_path):
    found = named(
        tmp_path, "--dataset", shared / "data" / "awa_photos", "--splits", 0, "--method", "eszsl", "prototype",
        "--attributes", shared / "data" / "awa2_attributes" / "attributes.csv",
        "--model_name_or_path", shared / "pretrained" / "mobilenetv2_100_imagenet",
        "--unseen", "chimpanzee", "killer whale", "wolf", "zebra",
    )  # fmt: skip
    for method, figures in found.items():
        assert figures["unseen_accuracy"] >= 0.75, (method, figures)  # chance is 0.25
        assert figures["harmonic_mean"] >= 0.50, (method, figures)
