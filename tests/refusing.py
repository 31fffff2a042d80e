"""Scripts run inside the test's process up to the point where they would load or train something."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import transformers

from hf_transfer_kit.commands.edge.settings import sentences_for_errors
from hf_transfer_kit.commands.flags import arguments
from hf_transfer_kit.data import stored_splits

NAMES = ("finetune", "transfer", "adapt", "advise", "extract_features", "multitask", "search_depth", "zero_shot")


class WentOnError(BaseException):
    """The script went on to what it should not have begun; no ``except`` of its own holds it."""


class Refusal(NamedTuple):
    """How a script ended."""

    status: int
    sentence: str


def runner(monkeypatch, capsys, folder: Path) -> Callable[[Sequence[str]], Refusal]:
    """What runs ``["finetune", "--flag", "value"]`` in ``folder``, and fails where the script goes on to train.

    Args:
        monkeypatch: pytest's.
        capsys: pytest's.
        folder: Where it runs.
    """
    monkeypatch.chdir(folder)
    # The environment of the test stays as it is: some of Trainer's flags write there.
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def went_on(*args: object, **kwargs: object) -> None:
        raise WentOnError

    monkeypatch.setattr(transformers.Trainer, "train", went_on)
    modules = {name: importlib.import_module(f"hf_transfer_kit.commands.{name}") for name in NAMES}
    for module in (*modules.values(), arguments):
        for name in ("frozen_features", "trained_features", "cache_features", "search_freeze_depth", "recommend"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, went_on)
        if hasattr(module, "train_digits_source"):
            monkeypatch.setattr(module, "train_digits_source", went_on)

    def run(words: Sequence[str]) -> Refusal:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [f"{words[0]}.py", *words[1:]])
        try:
            sentences_for_errors(modules[words[0]].main)
        except SystemExit as left:
            return Refusal(left.code, capsys.readouterr().err)
        except WentOnError:
            raise AssertionError(f"{' '.join(words)}: it went on") from None
        raise AssertionError(f"{' '.join(words)}: it ran to its end")

    return run


def few_rows(monkeypatch) -> None:
    """The embedded data with few rows, so that loading takes no time."""
    whole, kept = stored_splits.embedded_data, {}

    def few(name: str):
        if name not in kept:
            splits = whole(name)
            kept[name] = type(splits)(
                {split: rows.select(range(min(len(rows), 120))) for split, rows in splits.items()}
            )
        return kept[name]

    monkeypatch.setattr(stored_splits, "embedded_data", few)
