"""The commands by name, and which of them was called; light, so that help is at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

PROGRAM = "hf-transfer"


class Command(NamedTuple):
    """One command.

    Args:
        module: In ``hf_transfer_kit.commands``; its ``main`` does the work.
        words: What it does, in a line.
        is_recipe: Whether it has the flags of a recipe; the others have few of their own.
    """

    module: str
    words: str
    is_recipe: bool = True


COMMANDS = {
    "run": Command("transfer", "Compare strategies on your data under one budget, choose, judge, keep the best."),
    "finetune": Command("finetune", "One strategy as a plain Trainer run, with checkpoints."),
    "adapt": Command("adapt", "Labels in one domain, none in yours: adapt, and say whether it helped."),
    "multitask": Command("multitask", "Several tasks on one trunk, beside each task alone."),
    "zero-shot": Command("zero_shot", "Name classes never seen, from a table of attributes or by their names."),
    "advise": Command("advise", "Rank networks for your data and plan for the best, before anything is trained."),
    "depth": Command("search_depth", "Find how many layers to freeze."),
    "features": Command("extract_features", "Compute features once and write them to files."),
    "predict": Command("predict", "Ask a finished model about new files.", is_recipe=False),
    "export": Command("export", "Write a finished model as an ONNX file that says the same.", is_recipe=False),
    "merge": Command("merge", "Make one of several finished models of one network, by their weights.", is_recipe=False),
    "demo": Command("demo", "Show a finished model in the browser, to be tried by hand.", is_recipe=False),
    "report": Command("report", "Show what a finished run found.", is_recipe=False),
    "push": Command("push", "Send a finished folder to the Hub.", is_recipe=False),
    "cache": Command("cache", "List caches of features, and remove what is not used.", is_recipe=False),
}


def program() -> str:
    """What was called, for sentences: ``transfer.py`` or ``hf-transfer run``."""
    return Path(sys.argv[0]).name


def recipe_name() -> str:
    """Of the file that does the work, however it was called: ``transfer``."""
    name = program().removeprefix(f"{PROGRAM} ")
    return COMMANDS[name].module if name in COMMANDS else Path(name).stem
