"""Adaptation without target labels on real data: the results that model_cards/README.md states."""

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
