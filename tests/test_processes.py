"""A fork of the process that has imported the libraries is to a program what a Python of its own is."""

import json
import os
import signal
import subprocess
from pathlib import Path

import processes
import pytest

PROBE = """
import json, os, random, sys
import numpy, torch
drawn = [random.random(), float(numpy.random.rand()), float(torch.rand(()))]
kit = [name for name in sys.modules if name.startswith("hf_transfer_kit")]
main = sys.modules["__main__"]
said = {
    "argv": sys.argv, "folder": os.getcwd(), "first": sys.path[0], "places": sys.path[1:], "kit": kit,
    "name": __name__, "file": globals().get("__file__"), "ours": vars(main) is globals(),
    "environment": dict(os.environ), "input": sys.stdin.read(), "rank": os.environ.get("RANK"),
}
print(json.dumps([said, drawn]))
sys.exit("a sentence")
"""


@pytest.fixture(params=["text", "script"])
def command(request, tmp_path):
    if request.param == "text":
        return ["-c", PROBE, "a", 1]
    (tmp_path / "probe.py").write_text(PROBE)
    return [tmp_path / "probe.py", "a", 1]


def test_it_begins_and_ends_as_a_new_python(command, tmp_path):
    forks = [processes.run(command, cwd=tmp_path) for _ in range(2)]
    new = processes.run(command, cwd=tmp_path, cold=True)
    (said, drawn), (_, again) = (json.loads(fork.stdout) for fork in forks)
    assert said == json.loads(new.stdout)[0]
    assert said["kit"] == []
    assert not set(drawn) & set(again)
    for done in (*forks, new):
        assert (done.returncode, done.stderr) == (1, "a sentence\n")


def test_what_goes_wrong_is_seen():
    raised = processes.run(["-c", "print('begun')\n1 / 0"])
    assert (raised.returncode, raised.stdout) == (1, "begun\n")
    assert raised.stderr.endswith("ZeroDivisionError: division by zero\n")
    killed = processes.start(["-c", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"])
    assert killed.communicate(timeout=100) == ("", "")
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(["-c", "import time\ntime.sleep(1000)"], timeout=0.2)


def test_threads_and_what_was_registered_end_before_the_process():
    text = "import atexit, threading, time\natexit.register(print, 'end')\n"
    done = processes.run(["-c", f"{text}threading.Thread(target=lambda: [time.sleep(0.1), print('thread')]).start()"])
    assert (done.returncode, done.stdout) == (0, "thread\nend\n")


def test_ranks_meet_and_stop_together():
    meet = (
        "import torch, os\ntorch.distributed.init_process_group('gloo')\nrank = torch.ones(1) * int(os.environ['RANK'])\n"
        "torch.distributed.all_reduce(rank)\nprint(int(rank), torch.distributed.get_world_size(), flush=True)\n"
        "from leaving import leave\nleave()"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    done = processes.run(["-c", meet], ranks=2, env=environment)
    assert (done.returncode, done.stdout) == (0, "1 2\n1 2\n"), done.stderr
    one_fails = "import os, sys, time\nsys.exit(3) if os.environ['RANK'] == '1' else time.sleep(1000)"
    assert processes.run(["-c", one_fails], ranks=2).returncode == 1


@pytest.mark.skipif(processes.cold_always, reason="every process begins anew")
def test_settings_that_the_libraries_have_read_already_begin_a_python_anew(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    said = processes.run(["-c", "from huggingface_hub import constants; print(constants.HF_HUB_OFFLINE)"])
    assert said.stdout == "False\n"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TRANSFER_KIT_CACHE", "/elsewhere")
    said = processes.run(["-c", "import os; print(os.environ['HF_TRANSFER_KIT_CACHE'])"])
    assert said.stdout == "/elsewhere\n"
