"""Recipes under two processes: they agree on their caches, end, and one of them speaks."""

import collections
import json
import os
import socket
import subprocess
import sys

import pytest
from scripts.test_scripts import run

DATA = ["--model_name_or_path", "small_resnet", "--dataset", "digits_m", "--train_size", "40"]
STEPS = ["--max_steps", "4", "--per_device_train_batch_size", "8"]
COMMANDS = {
    "advise.py": ["--models", "dann_mnist", *DATA, *STEPS, "--trials"],
    "finetune.py": ["--strategy", "auto", *DATA, *STEPS],
}
LONGER = {
    "search_depth.py": [*DATA, *STEPS, "--seeds", "0", "--depths", "0", "2"],
    "extract_features.py": DATA,
    "zero_shot.py": ["--splits", "1", "--method", "eszsl", "--train_size", "200"],
    "transfer.py": [*DATA, *STEPS, "--seeds", "0", "--strategies", "head_only", "full"],
    "multitask.py": [*STEPS],
}


def one_voice(script, flags, folder):
    done = run(script, *flags, "--use_cpu", "--ddp_backend", "gloo", "--output_dir", folder, ranks=2)
    lines = collections.Counter(line for line in done.stdout.splitlines() if len(line) > 20 and "step" not in line)
    assert lines
    assert {line for line, count in lines.items() if count > 1} == set()
    return done


@pytest.mark.parametrize("script", COMMANDS)
def test_two_processes_agree_and_one_speaks(script, tmp_path):
    done = one_voice(script, COMMANDS[script], tmp_path / "out")
    assert done.stdout.count("The report is") == 1
    assert json.loads((tmp_path / "out" / "report.json").read_text())["recipe"] in script


@pytest.mark.slow
@pytest.mark.parametrize("script", LONGER)
def test_two_processes_of_the_other_recipes_do(script, tmp_path):
    one_voice(script, LONGER[script], tmp_path / "out")


@pytest.mark.slow
def test_two_agents_are_one_run(tmp_path):
    """As on two machines: an agent each, which meet at an address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    agent = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    agent += ["--rdzv_backend", "c10d", "--rdzv_endpoint", meeting, "--rdzv_id", "one_run", "-m", "hf_transfer_kit"]
    command = [*agent, "finetune", *DATA, "--strategy", "full", "--max_steps", "4", "--batch_size", "10"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    agents = [
        subprocess.Popen(
            [*command, "--output_dir", tmp_path / "out"], env=environment, text=True, stdout=-1, stderr=-1, cwd=tmp_path
        )
        for _ in range(2)
    ]
    said = [agent.communicate(timeout=300) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert sum(output.count("The report is") for output, _ in said) == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["budget"]["batch_size"] == 10
