"""A line on a terminal that says what is being done, wherever nothing else was said for a while.

It is begun before libraries are imported, so that it imports none itself.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

QUIET_SECONDS = 3.0
"""Without a word for so long, the line appears."""
_CLEAR = "\r\x1b[2K"


class SignOfLife:
    """Watches what is written, and fills silences with ``words`` and how long they last.

    Args:
        terminal: Where the line is shown.
        words: What is being done; ``stage`` changes them.
        quiet: Seconds.

    Example:
        >>> with alive("Importing libraries"):  # nothing is shown where there is no terminal
        ...     stage("Reading the data")
    """

    def __init__(self, terminal: TextIO, words: str, quiet: float = QUIET_SECONDS) -> None:
        self.terminal = terminal
        self.words = words
        self.quiet = quiet
        self._last = self._since = time.monotonic()
        self._shown = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sign-of-life", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def end(self) -> None:
        """Takes the line away."""
        self._ended.set()
        self._thread.join()
        self.heard()

    def stage(self, words: str) -> None:
        """Says what is being done from now on."""
        self.words, self._since = words, time.monotonic()

    def heard(self) -> None:
        """Something else is about to be written."""
        with self._lock:
            if self._shown:
                self.terminal.write(_CLEAR)
                self.terminal.flush()
                self._shown = False
            self._last = time.monotonic()

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self.quiet)):
            with self._lock:
                now = time.monotonic()
                if now - self._last >= self.quiet:
                    self.terminal.write(f"{_CLEAR}... {self.words}, {now - self._since:.0f} s")
                    self.terminal.flush()
                    self._shown = True


class _Told:
    """A stream that says so before it is written to."""

    def __init__(self, stream: TextIO, life: SignOfLife) -> None:
        self._stream = stream
        self._life = life

    def write(self, text: str) -> int:
        self._life.heard()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_PRESENT: list[SignOfLife] = []


@contextmanager
def alive(words: str, *, quiet: float = QUIET_SECONDS) -> Iterator[None]:
    """Shows signs of life on standard error, where it is a terminal, in the first process."""
    if not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        yield
        return
    streams = sys.stdout, sys.stderr
    life = SignOfLife(sys.stderr, words, quiet)
    sys.stdout, sys.stderr = (_Told(stream, life) for stream in streams)  # type: ignore[assignment]
    _PRESENT[:] = [life]
    life.start()
    try:
        yield
    finally:
        _PRESENT.clear()
        sys.stdout, sys.stderr = streams
        life.end()


def stage(words: str) -> None:
    """Says what is being done from now on, where signs of life are shown."""
    for life in _PRESENT:
        life.stage(words)
