"""Several tasks on one trunk on real data: the results that model_cards/README.md states."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def trained(output_dir: Path, example: str, *flags: object) -> dict[str, dict]:
    """Runs scripts/multitask.py with a file of scripts/examples; method -> its result."""
    config = ROOT / "scripts" / "examples" / example
    command = [sys.executable, str(ROOT / "scripts" / "multitask.py"), "--config", str(config), *map(str, flags)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())}
    done = subprocess.run(
        [*command, "--output_dir", str(output_dir)],
        capture_output=True, text=True, env=environment, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((output_dir / "report.json").read_text())["multitasking"]
    return {result["method"]: result for result in report["results"]}


def test_a_second_language_with_few_labels_without_losing_the_first(shared, tmp_path):
    methods = ["single", "multitask", "sequential", "replay:rows=1000"]
    found = trained(tmp_path, "two_languages.yaml", "--train_size", "bengali=0.05", "--seeds", 0, "--method", *methods)
    bengali = {method: found[method]["figures"]["bengali"]["test"] for method in methods}
    forgotten = {method: found[method]["forgetting"] for method in methods[1:]}
    assert found["single"]["figures"]["english"]["test"] >= 0.95
    assert bengali["replay:rows=1000"] >= bengali["single"] + 0.04, bengali
    assert forgotten["sequential"] >= 0.10, forgotten
    assert forgotten["replay:rows=1000"] <= 0.03, forgotten
    assert forgotten["multitask"] <= 0.02, forgotten
