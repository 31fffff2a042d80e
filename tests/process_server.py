"""A process that has imported the libraries and starts Python programs as forks of itself: see processes.py.

It reads one request a line, as JSON, and answers each with a line:
{"command": ["script.py", ...] or ["-c", text, ...], "cwd", "environment", "output", "errors"} -> {"pid": number}
{"wait": pid} -> {"status": exit status, negative for a signal, or null while the program runs}
"""

import atexit
import gc
import importlib
import importlib.machinery
import json
import os
import sys
import threading
import time
import traceback
import types
from pathlib import Path

# Of the kit nothing is among them: every program imports by itself what it uses of it.
LIBRARIES = (
    "torch.distributed.tensor",
    "torchvision",
    "transformers.trainer",
    "transformers.hf_argparser",
    "datasets",
    "timm",
    "peft",
    "evaluate",
    "sklearn.datasets",
    "sklearn.linear_model",
    "matplotlib.pyplot",
    "torchjd.aggregation",
)

KIT = Path(__file__).resolve().parents[1] / "hf_transfer_kit"


def compile_once() -> None:
    """Keeps the kit's code where Python may write none beside its files: each fork would compile it anew."""
    if not sys.dont_write_bytecode:
        return
    texts = {str(path): path.read_bytes() for path in KIT.rglob("*.py")}
    kept = {path: (text, compile(text, path, "exec", dont_inherit=True)) for path, text in texts.items()}
    anew = importlib.machinery.SourceFileLoader.source_to_code

    def code(self, data, path, **how):
        text, compiled = kept.get(path, (None, None))
        return compiled if text == data else anew(self, data, path, **how)

    importlib.machinery.SourceFileLoader.source_to_code = code


def serve(answers) -> dict | None:
    """Answers until there is nobody to ask; in a fork, what it has to run."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = {"status": status_of(request["wait"])}
        elif pid := os.fork():
            answer = {"pid": pid}
        else:
            answers.close()
            return request
        print(json.dumps(answer), file=answers, flush=True)
    return None


def status_of(pid: int, seconds: float = 0.1) -> int | None:
    """Exit status of a program that ends within ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.005)


def settle(request: dict, libraries_at: list[str]) -> None:
    """Makes of the fork what Python would have begun: streams, folder, environment, places of modules, random numbers."""
    inward = os.open(os.devnull, os.O_RDONLY)
    outward = [os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("output", "errors")]
    for stream, opened in enumerate((inward, *outward)):
        os.dup2(opened, stream)
        os.close(opened)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    program, *_ = command = request["command"]
    first = "" if program == "-c" else os.path.dirname(os.path.abspath(program))
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[:] = [first, *places, *libraries_at]
    importlib.invalidate_caches()
    sys.argv = [program, *command[1 + (program == "-c") :]]
    # Forks of one process would draw the same numbers; `random` seeds itself anew.
    sys.modules["torch"].seed()
    sys.modules["numpy"].random.seed()
    sys.modules["datasets.fingerprint"].fingerprint_rng.seed()


def run(command: list[str]) -> int:
    """Exit status of the program, run as ``__main__``."""
    main = types.ModuleType("__main__")
    text, name = command[1] if command[0] == "-c" else None, "<string>"
    if text is None:
        main.__file__ = name = command[0]
        with open(name, "rb") as file:
            text = file.read()
    sys.modules["__main__"] = main
    try:
        exec(compile(text, name, "exec", dont_inherit=True), vars(main))
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(status: int) -> None:
    """What Python does at its end but for taking the libraries apart, which takes two seconds."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    libraries_at = sys.path[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library may print while it is imported is no answer
    for library in LIBRARIES:
        importlib.import_module(library)
    compile_once()
    gc.collect()
    gc.freeze()  # else the first collection of a fork copies the libraries' memory
    if request := serve(answers):
        settle(request, libraries_at)
        end(run(request["command"]))
    os._exit(0)
