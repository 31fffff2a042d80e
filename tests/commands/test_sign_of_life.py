"""On a terminal no stretch is silent; elsewhere nothing is added."""

import itertools
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from hf_transfer_kit.commands.edge import sign_of_life
from hf_transfer_kit.commands.edge.named_commands import COMMANDS

PROGRAM = """
import sys, time
from hf_transfer_kit.commands.edge import sign_of_life
with sign_of_life.alive("Importing", quiet=0.3):
    time.sleep(0.8)
    sign_of_life.stage("Reading")
    time.sleep(0.8)
    print("read", flush=True)
    sign_of_life.stage("Training")
    for _ in range(4):
        time.sleep(0.2)
        print(".", end="", flush=True)
    print()
print("done")
"""


def on_a_terminal(command, seconds, **how):
    """What it writes to a terminal, piece by piece, with the time of each."""
    ours, its = pty.openpty()
    process = subprocess.Popen(command, stdout=its, stderr=its, stdin=its, **how)
    os.close(its)
    pieces, end = [(time.monotonic(), "")], time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                pieces.append((time.monotonic(), os.read(ours, 65536).decode(errors="replace")))
            except OSError:
                break
        elif process.poll() is not None:
            break
    process.kill()
    process.wait()
    os.close(ours)
    return pieces


def test_a_silence_is_filled_with_what_is_done_and_taken_away_again():
    pieces = on_a_terminal([sys.executable, "-c", PROGRAM], 60)
    written = "".join(text for _, text in pieces)
    assert re.search(r"\.\.\. Importing, \d s", written)
    assert re.search(r"\.\.\. Reading, \d s", written)
    assert "Training" not in written  # its own output came often enough
    assert "\r\x1b[2Kread" in written
    shown = re.sub(r"[^\n]*\r\x1b\[2K", "", written.replace("\r\n", "\n"))
    assert shown == "read\n....\ndone\n"


def test_nothing_is_added_where_there_is_no_terminal():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("read\n....\ndone\n", "")


def test_other_processes_of_a_run_are_silent():
    pieces = on_a_terminal([sys.executable, "-c", PROGRAM], 60, env={**os.environ, "RANK": "1"})
    assert "..." not in "".join(text for _, text in pieces).replace("....", "")


def test_what_raises_leaves_the_streams_as_they_were(monkeypatch):
    streams = sys.stdout, sys.stderr
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    def fail():
        with sign_of_life.alive("Working"):
            assert sys.stdout is not streams[0]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (sys.stdout, sys.stderr) == streams
    sign_of_life.stage("after the end nothing listens")


RECIPES = {
    "run": ["--max_steps", "6", "--strategies", "head_only", "full", "--seeds", "0"],
    "finetune": ["--max_steps", "6"],
    "adapt": ["--max_steps", "6", "--method", "dann"],
    "multitask": ["--max_steps", "6"],
    "zero-shot": ["--splits", "1"],
    "advise": [],
    "depth": ["--max_steps", "6", "--seeds", "0"],
    "features": [],
}


LISTENED = os.environ.get("LISTEN_TO", "run adapt advise").split()
"""The others take as long again: LISTEN_TO="depth features ..."."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTENED)
def test_no_recipe_is_silent_for_five_seconds_on_a_terminal(name, tmp_path):
    command = [sys.executable, "-m", "hf_transfer_kit", name, *RECIPES[name], "--use_cpu", "--output_dir", "out"]
    pieces = on_a_terminal(command, 900, cwd=tmp_path)
    assert (tmp_path / "out").is_dir(), "".join(text for _, text in pieces)[-2000:]
    longest = max(later - earlier for (earlier, _), (later, _) in itertools.pairwise(pieces))
    print(f"{name}: {longest:.1f} s")
    assert longest <= 5


def test_every_recipe_is_listened_to():
    assert set(RECIPES) == {name for name, command in COMMANDS.items() if command.is_recipe}
