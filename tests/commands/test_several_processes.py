"""Several processes of one command: one voice, and an end with a sentence when one of them dies."""

import os
import signal
import time
from pathlib import Path

import processes
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ["--model_name_or_path", "small_resnet", "--dataset", "digits_m", "--train_size", "40"]


@pytest.mark.skipif(not processes.CAN_FORK, reason="processes are looked at while they run, as forks")
def test_when_one_dies_the_other_ends_with_a_sentence(tmp_path):
    flags = [*DATA, "--strategy", "full", "--max_steps", "100000", "--eval_strategy", "no", "--output_dir", tmp_path,
             "--save_strategy", "steps", "--save_steps", "3", "--save_total_limit", "1"]  # fmt: skip
    words = [str(word) for word in (ROOT / "scripts" / "finetune.py", *flags)]
    _store, (first, second) = processes.begun_ranks(words, 2, str(ROOT), {**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + 200
    while not [*tmp_path.glob("checkpoint-*")] and time.monotonic() < end and first.poll() is None:
        time.sleep(0.2)
    assert [*tmp_path.glob("checkpoint-*")], first.said()
    second.kill()
    killed = time.monotonic()
    output, errors = first.communicate(60)
    assert time.monotonic() - killed < 10
    assert first.returncode == 1, output + errors
    assert errors.count("finetune.py: Another process of this run has ended or cannot be reached") == 1
    assert "Traceback" not in errors


def test_an_error_of_all_is_told_once(tmp_path):
    done = processes.run([ROOT / "scripts" / "transfer.py", *DATA, "--strategies", "all"], ranks=2, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("There is no strategy 'all'") == 1


def test_what_is_ended_from_outside_says_so_where_no_python_runs(tmp_path):
    program = (
        "import ctypes\n"
        "from hf_transfer_kit.commands.edge.several_processes import last_words\n"
        "with last_words(lambda: 'ended, all the same'):\n"
        "    print('waiting', flush=True)\n"
        "    library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)\n"
        "    library.pthread_mutex_lock(lock)\n"
        "    library.pthread_mutex_lock(lock)\n"  # which waits for itself, and no signal ends it
    )
    child = processes.start(["-c", program], cold=True)
    assert child.stdout.readline() == "waiting\n"
    began = time.monotonic()
    os.kill(child.pid, signal.SIGTERM)
    _, errors = child.communicate(timeout=30)
    assert errors == "ended, all the same\n"
    assert child.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - began < 10


def test_on_a_cpu_several_processes_are_one_run_without_a_flag(two_processes, tmp_path):
    two_processes(
        "import sys\n"
        "from hf_transfer_kit.commands.flags.run_arguments import KitTrainingArguments\n"
        "args = KitTrainingArguments(sys.argv[1])\n"
        "assert args.world_size == 2, args.parallel_mode\n"
        "assert (args.batch_size, args.per_device_train_batch_size) == (32, 16)\n"
        "each = KitTrainingArguments(sys.argv[1], per_device_train_batch_size=8, gradient_accumulation_steps=2)\n"
        "assert each.batch_size == 32\n",
        tmp_path,
    )
