"""The stock Trainer on tiny data, in one process or two."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def training_arguments(tmp_path):
    """Arguments of a quiet short run on the CPU in a temporary folder; keywords win."""
    from transformers import TrainingArguments

    def make(**settings):
        given = {
            "output_dir": str(tmp_path / "run"),
            "use_cpu": True,
            "report_to": [],
            "save_strategy": "no",
            "disable_tqdm": True,
            "logging_steps": 1,
            "seed": 0,
        }
        return TrainingArguments(**{**given, **settings})

    return make


@pytest.fixture
def two_processes(tmp_path):
    """Runs a script's text under torchrun with two gloo processes; its output is shown when it fails."""

    def run(text, *arguments, check=True):
        script = tmp_path / "script.py"
        script.write_text(text)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run
