"""Python programs in processes of their own, without the eight seconds of importing torch and what belongs to it.

One process imports the libraries and waits; each program runs in a fork of it (process_server.py). So a program has its
own memory, folder, environment, streams and exit status, and imports the kit by itself. ``cold=True``, or pytest's
--cold for all, starts a Python anew, and several ranks under torchrun.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node")
CAN_FORK = sys.platform == "linux"
cold_always = not CAN_FORK


class _Server:
    """The process whose forks run the programs."""

    def __init__(self) -> None:
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.environment.pop("PYTHONPATH", None)  # of the programs, which may differ
        self.folder = tempfile.TemporaryDirectory(prefix="processes-")
        program = [sys.executable, str(Path(__file__).with_name("process_server.py"))]
        # Asked through NVML whether there is a GPU, CUDA stays untouched: forks could not use it any more.
        environment = {**self.environment, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(program, stdin=pipe, stdout=pipe, env=environment, text=True)

    def ask(self, request: dict) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the process of process_server.py has ended"
        return json.loads(answer)


_server = cache(_Server)


class Fork:
    """A program that runs in a fork; communicates and ends as ``subprocess.Popen``."""

    returncode: int | None = None

    def __init__(self, command: Sequence[str], *, cwd: str, environment: Mapping[str, str]) -> None:
        server = _server()
        self._streams = [tempfile.mkstemp(dir=server.folder.name)[1] for _ in range(2)]
        output, errors = self._streams
        request = {"command": list(command), "cwd": cwd, "environment": dict(environment)}
        self.pid = server.ask({**request, "output": output, "errors": errors})["pid"]

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _server().ask({"wait": self.pid})["status"]
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, str]:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise subprocess.TimeoutExpired(str(self.pid), timeout, *self.said())
        return self.said()

    def said(self) -> tuple[str, str]:
        output, errors = (Path(stream).read_text() for stream in self._streams)
        return output, errors


def begins_anew(environment: Mapping[str, str]) -> bool:
    """Whether a Python has to begin anew: always so, or because of settings that the libraries have read already."""
    if cold_always:
        return True
    return any(_read_at_import(name) for name, _ in environment.items() ^ _server().environment.items())


def _read_at_import(name: str) -> bool:
    return name.startswith(("HF_", "OMP_", "MKL_", "MPL", "PYTHONHASHSEED")) and not name.startswith("HF_TRANSFER_KIT_")


def start(command: Sequence[object], *, env: Mapping[str, str] | None = None, cold: bool = False):
    """A program that runs beside the test: ``communicate`` and ``returncode`` as of ``subprocess.Popen``.

    Args:
        command: What stands behind ``python``: a script or ``-c`` and a text, and arguments.
        env: Its whole environment; default: that of the test, and one thread.
        cold: In a Python that begins anew.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if env is None else env
    words = [str(word) for word in command]
    if cold or begins_anew(environment):
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, *words], stdout=pipe, stderr=pipe, text=True, env=environment)
    return Fork(words, cwd=os.getcwd(), environment=environment)


def run(
    command: Sequence[object],
    *,
    ranks: int = 1,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
    cold: bool = False,
) -> subprocess.CompletedProcess:
    """A finished program with what it said, as ``subprocess.run`` gives it.

    Args:
        command: What stands behind ``python``: a script or ``-c`` and a text, and arguments.
        ranks: Processes that work together, with the environment that torchrun gives them.
        cwd: Folder; default: the test's.
        env: Its whole environment; default: that of the test, and one thread.
        timeout: Seconds; then it is killed and ``subprocess.TimeoutExpired`` raised.
        cold: In a Python that begins anew, several ranks under torchrun.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if env is None else dict(env)
    words, folder = [str(word) for word in command], str(cwd or os.getcwd())
    if cold or begins_anew(environment):
        whole = [sys.executable, *((*TORCHRUN, str(ranks)) if ranks > 1 else ()), *words]
        return subprocess.run(
            whole, env=environment, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
        )
    if ranks == 1:
        fork = Fork(words, cwd=folder, environment=environment)
        output, errors = fork.communicate(timeout)
        return subprocess.CompletedProcess(words, fork.returncode, output, errors)
    return _together(words, ranks, folder, environment, timeout)


def two_ranks(folder: Path, text: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess:
    """A program's text in two processes with gloo, as under torchrun; what it said is shown when it fails.

    Args:
        folder: Where the text is written to.
        text: The program.
        *arguments: Of its command line.
        check: Whether it has to end well.
    """
    script = folder / "script.py"
    script.write_text(f"{text}\nfrom leaving import leave\n\nleave()\n")
    places = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    done = run([script, *arguments], ranks=2, env=environment, timeout=240)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def begun_ranks(words: list[str], ranks: int, folder: str, environment: Mapping[str, str]):
    """A store of this process, which lives as long as it is held, and forks that meet there, one a rank."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    common |= {"TORCHELASTIC_RUN_ID": "tests", "TORCHELASTIC_USE_AGENT_STORE": True, "GROUP_RANK": 0}
    forks = []
    for rank in range(ranks):
        own = {name: str(value) for name, value in {**common, "RANK": rank, "LOCAL_RANK": rank}.items()}
        forks.append(Fork(words, cwd=folder, environment={**environment, **own}))
    return store, forks


def _together(words: list[str], ranks: int, folder: str, environment: dict, timeout: float):
    """Ranks of which, when one fails, the others are stopped, as torchrun does it."""
    _store, forks = begun_ranks(words, ranks, folder, environment)
    end = time.monotonic() + timeout
    while None in (states := [fork.poll() for fork in forks]):
        late = time.monotonic() > end
        if late or any(states):
            for fork in forks:
                fork.kill()
        if late:
            raise subprocess.TimeoutExpired(words, timeout, *map("".join, zip(*(f.said() for f in forks), strict=True)))
    output, errors = map("".join, zip(*(fork.said() for fork in forks), strict=True))
    return subprocess.CompletedProcess(words, int(any(states)), output, errors)
