"""The sections by letter: their modules, titles and times. A new one is a module with ``measure`` and a line here."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from on_gpu.bench import Bench, Record


@dataclass(frozen=True)
class Section:
    """One of them.

    Args:
        module: Of this folder; its ``measure(bench, until)`` yields records until a time of ``time.time()``.
        title: For people.
        seconds: What it may take on a GPU, its processes' start included.
        grace: What is added before it is ended from outside.
    """

    module: str
    title: str
    seconds: float
    grace: float = 10.0


SECTIONS = {
    "a": Section("precision", "parts and methods in half precision against float32", 95),
    "b": Section("steps", "steps against loops written by hand", 175),
    "c": Section("reading", "cache_features against a plain forward", 40),
    "d": Section("freezing", "freezing and a cached prefix", 45),
    "e": Section("races", "five runs one after another and at once", 60),
    "f": Section("scoring", "transferability scores", 45),
}
"""460 s in all: with what starting and ending takes, eight minutes."""


def run_section(letter: str, bench: Bench, until: float) -> Iterator[Record]:
    """The section's records; what it cannot import is a failure of its own."""
    import transformers

    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield from importlib.import_module(f"on_gpu.{SECTIONS[letter].module}").measure(bench, until)
