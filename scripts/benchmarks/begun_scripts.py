"""Scripts begun in forks of a process that has imported the libraries, so that a kill costs no eight seconds."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # else the last bits depend on where a tensor lies in memory
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SCRIPTS = Path(__file__).resolve().parents[1]


def begun(command: Sequence[object], log: Path) -> int:
    """Begins ``scripts/COMMAND[0]`` with the rest as flags; its process. What it says goes to the end of ``log``."""
    script, *flags = map(str, command)
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.path.insert(0, str(SCRIPTS))
        sys.argv = [str(SCRIPTS / script), *flags]
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(pid: int, *, kill_when: Callable[[float], bool] | None = None) -> int | None:
    """Exit status of a process; None when it was killed because ``kill_when(seconds)`` became true."""
    started = time.perf_counter()
    while kill_when is not None:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if kill_when(time.perf_counter() - started):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.0005)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
