"""Recipes under two processes: they agree on their caches, end, and one of them speaks."""

import collections
import json

import pytest
from scripts.test_scripts import run

DATA = ["--model_name_or_path", "small_resnet", "--dataset", "digits_m", "--train_size", "40"]
STEPS = ["--max_steps", "4", "--per_device_train_batch_size", "8"]
COMMANDS = {
    "advise.py": ["--models", "dann_mnist", *DATA, *STEPS],
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
