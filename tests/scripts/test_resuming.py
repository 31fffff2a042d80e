"""finetune.py goes on by itself from the newest whole checkpoint, and looks at its run when nobody says how often."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scripts.test_scripts import network, run  # noqa: F401

FLAGS = ["--dataset", "digits", "--train_size", "48", "--max_steps", "6", "--per_device_train_batch_size", "16"]
CHECKPOINTS = ["--save_strategy", "steps", "--save_steps", "2", "--resume_from_checkpoint", "true"]


@pytest.fixture(scope="module")
def whole(network, tmp_path_factory) -> tuple[Path, str]:  # noqa: F811
    """A run that never stopped, begun with the guide's own command, and what it said."""
    folder = tmp_path_factory.mktemp("whole")
    done = run("finetune.py", "--model_name_or_path", network, *FLAGS, *CHECKPOINTS, "--output_dir", folder)
    return folder, done.stdout


@pytest.fixture
def stopped(whole, tmp_path) -> Path:
    """The same run, killed while its last checkpoint was written: no report, half a checkpoint."""
    folder = tmp_path / "stopped"
    shutil.copytree(whole[0], folder)
    (folder / "report.json").unlink()
    (folder / "model.safetensors").unlink()
    (folder / "checkpoint-6" / "trainer_state.json").unlink()
    weights = folder / "checkpoint-6" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return folder


def test_a_first_run_says_that_there_is_none_yet(whole):
    assert "No checkpoint to go on from (there is none yet): training starts from the beginning." in whole[1]


def test_a_run_is_looked_at_when_nobody_says_how_often(whole):
    history = json.loads((whole[0] / "checkpoint-6" / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "eval_loss" in entry] == [2, 4, 6]
    assert [entry["step"] for entry in history if "loss" in entry] == [2, 4, 6]
    (result,) = json.loads((whole[0] / "report.json").read_text())["results"]
    assert [point["step"] for point in result["curve"]] == [2, 4, 6]


def test_the_same_command_goes_on_behind_a_half_written_checkpoint(whole, stopped, network):  # noqa: F811
    done = run("finetune.py", "--model_name_or_path", network, *FLAGS, *CHECKPOINTS, "--output_dir", stopped)
    assert "Going on from checkpoint-4; passed over: checkpoint-6 (trainer_state.json is missing" in done.stdout
    first, second = (load_file(folder / "model.safetensors") for folder in (whole[0], stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--strategy", "head_only"], "are of another run: checkpoint-4 (of a run with strategy full, not head_only"),
        (["--seed", "3"], "of a run with seed 42, not 3"),
        (["--resume_from_checkpoint", "{stopped}/checkpoint-6"], "Give {stopped}/checkpoint-4."),
        (["--resume_from_checkpoint", "{stopped}/checkpoint-5"], "There is no checkpoint {stopped}/checkpoint-5"),
    ],
)
def test_what_cannot_be_gone_on_with_is_a_sentence(flags, sentence, stopped, network):  # noqa: F811
    given = [*FLAGS, *CHECKPOINTS, *(flag.format(stopped=stopped) for flag in flags), "--output_dir", stopped]
    done = run("finetune.py", "--model_name_or_path", network, *given, ok=False)
    assert done.returncode == 2, done.stderr
    assert sentence.format(stopped=stopped) in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluations_and_trainers_own_flag_are_not_both_taken(network, tmp_path):  # noqa: F811
    flags = ["--model_name_or_path", network, *FLAGS, "--output_dir", tmp_path]
    done = run("finetune.py", *flags, "--evaluations", "2", "--eval_steps", "3", ok=False)
    assert done.returncode == 2
    assert "--evaluations and --eval_steps both say when the run is looked at" in done.stderr


@pytest.mark.parametrize("where", ["save_results", "resume_point"])
def test_a_full_disk_is_a_sentence_and_exit_1(where, network, tmp_path):  # noqa: F811
    code = f"""
import errno, sys
sys.argv[0] = "finetune.py"
from hf_transfer_kit.commands import finetune
from hf_transfer_kit.commands.edge import settings

def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device", "out/file")

finetune.{where} = full
settings.sentences_for_errors(finetune.main)
"""
    program = tmp_path / "program.py"
    program.write_text(code)
    flags = ["--model_name_or_path", network, *FLAGS, "--output_dir", tmp_path / "out"]
    import processes

    done = processes.run([program, *flags])
    assert done.returncode == 1, done.stderr
    assert "No space is left on a disk to write out/file. What was written before is as it was" in done.stderr
    assert "Traceback" not in done.stderr
