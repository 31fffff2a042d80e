"""What the processes of one run say: the first alone prints, an error is told once, and none ends without a word."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta

import torch

_WAIT = timedelta(seconds=3)


@contextmanager
def one_voice() -> Iterator[None]:
    """Of several processes the first alone prints; errors are told by whichever meets them first."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def say_once(text: str) -> None:
    """Writes a line of an error; of several processes that end with the same, the first to come.

    They meet in the store of torchrun's agent. Where there is none, each tells it.
    """
    if _first(text):
        print(text, file=sys.stderr, flush=True)


def _first(text: str) -> bool:
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not address or not port:
        return True
    try:
        store = torch.distributed.TCPStore(address, int(port), is_master=False, timeout=_WAIT)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return store.add(f"said/{attempt}/{hashlib.sha256(text.encode()).hexdigest()}", 1) == 1
    except (RuntimeError, ValueError):
        return True


@contextmanager
def last_words(sentence: Callable[[], str]) -> Iterator[None]:
    """Within it a process that is told to end (SIGTERM) ends at once, and says ``sentence``.

    Launchers and schedulers do so to the other processes when one has died. A thread speaks, for the main one may wait
    for the dead one where no Python runs.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "set_wakeup_fd"):
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def noticed(number: int, frame: object) -> None:
        """The byte that the signal left in the pipe is read by the thread."""

    def listen() -> None:
        while received := os.read(reading, 1):
            if received[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is noticed:
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{sentence()}\n".encode())
                os._exit(128 + signal.SIGTERM)

    before, pipe_before = signal.signal(signal.SIGTERM, noticed), signal.set_wakeup_fd(writing)
    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(pipe_before)
        if signal.getsignal(signal.SIGTERM) is noticed:
            signal.signal(signal.SIGTERM, before)
        os.close(writing)  # which ends the thread
