"""Work in a process of its own, item by item: it can fail, hang or lose its GPU, and the others go on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch

_ITEM, _ERROR = "item", "error"
_inside = False
"""Whether this is such a process itself: what it starts ends with it."""


class Broken(Exception):
    """The work ended before it was done: what it said last, or that its time was over."""


class Isolated:
    """A generator in a process of its own, which goes on to its next item only when asked.

    Args:
        start: ``"spawn"`` where a GPU is used, for forks cannot; ``"fork"`` imports nothing anew.
        work: A function of a module, whose items and arguments can be pickled.
        arguments: Of the function.
    """

    def __init__(self, start: str, work: Callable[..., Iterator[Any]], *arguments: Any) -> None:
        context = multiprocessing.get_context(start)
        self._pipe, theirs = context.Pipe()
        self._leads, self._is_over = not _inside, False
        self._process = context.Process(target=_serve, args=(work, arguments, theirs, self._leads))
        self._process.start()
        theirs.close()

    def ask(self) -> None:
        """Lets it work on its next item."""
        try:
            self._pipe.send(True)
        except OSError as error:
            raise Broken("the process ended") from error

    def answer(self, seconds: float) -> Any:
        """That item, or None when there is none left.

        Raises:
            Broken: When it failed, or took longer.
        """
        try:
            if not self._pipe.poll(max(0.0, seconds)):
                raise Broken(f"no time left, {max(0.0, seconds):.0f} s after it was asked")
            kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise Broken(f"the process ended (exit code {self._process.exitcode})") from error
        self._is_over = kind == _ERROR or value is None
        if kind == _ERROR:
            raise Broken(value)
        return value

    def next(self, seconds: float) -> Any:
        """Asks, and waits for the answer."""
        self.ask()
        return self.answer(seconds)

    def has_answered(self) -> bool:
        """Whether an item or an error is there."""
        return self._pipe.poll(0)

    def until(self, event: Any, time_over: float) -> None:
        """Returns when an event is set, the process has answered or ended, or at a time of ``time.time()``."""
        while not (event.wait(0.05) or self.has_answered() or time.time() >= time_over):
            pass

    def close(self) -> None:
        """Ends it and every process that it started."""
        self._process.join(5 if self._is_over else 0)  # it puts its own things away
        if self._leads and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # all over, or no group made yet
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(work: Callable[..., Iterator[Any]], arguments: tuple, pipe: Connection, leads: bool) -> None:
    global _inside
    _inside = True
    if leads:
        os.setsid()
    try:
        items = work(*arguments)
        item = True
        while item is not None and pipe.recv():
            item = next(items, None)
            pipe.send((_ITEM, item))
    except EOFError:  # nobody asks any more
        return
    except BaseException as error:
        pipe.send((_ERROR, words_of(error)))


def words_of(error: BaseException) -> str:
    """The error, and the line of this repository that it came from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error).strip()[:400]}{place}"


def start_method(device: str) -> str:
    """How processes begin that use a device."""
    return "spawn" if device == "cuda" else "fork"


def is_device_lost(error: BaseException) -> bool:
    """Whether a process can use its GPU no more: every later call fails with this one's error."""
    lost = getattr(torch, "AcceleratorError", ())
    return isinstance(error, lost or ()) or "CUDA error" in str(error)
