"""``hf-transfer COMMAND``: which file does what, and help that imports nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module, resources
from typing import NamedTuple

from hf_transfer_kit import __version__
from hf_transfer_kit.commands.edge.sign_of_life import alive
from hf_transfer_kit.near_names import did_you_mean

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
    "report": Command("report", "Show what a finished run found.", is_recipe=False),
    "push": Command("push", "Send a finished folder to the Hub.", is_recipe=False),
    "cache": Command("cache", "List caches of features, and remove what is not used.", is_recipe=False),
}


def main() -> None:
    """What the console script calls."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return
    if words[0] == "--version":
        print(f"{PROGRAM} {__version__}")
        return
    name = words[0].replace("_", "-")
    if name not in COMMANDS:
        near = did_you_mean(name, COMMANDS)
        print(f"{PROGRAM}: {words[0]} is no command; there are {', '.join(COMMANDS)}.{near}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"{PROGRAM} {name}", *words[1:]]
    run(name)


def run(name: str) -> None:
    """Runs a command with the flags in ``sys.argv``, whatever stands in ``sys.argv[0]``.

    Args:
        name: Of ``COMMANDS``.
    """
    command = COMMANDS[name]
    if command.is_recipe and (page := help_page(name, sys.argv[1:])) is not None:
        print(page)
        return
    home = f"hf_transfer_kit.commands.{command.module}"
    if not command.is_recipe and not {"-h", "--help"}.isdisjoint(sys.argv):
        import_module(home).main()  # argparse prints its page and ends, before anything is imported
    with alive("Importing libraries"):
        module = import_module(home)
        import_module("hf_transfer_kit.commands.edge.settings").sentences_for_errors(module.main)


def help_page(name: str, words: Sequence[str]) -> str | None:
    """The page that ``--help`` or ``--help-all`` asks for; None where neither is there."""
    if "--help-all" in words or "--help_all" in words:
        pages = import_module("hf_transfer_kit.commands.edge.help_pages")
        return str(pages.whole_page(name))
    if {"-h", "--help"}.isdisjoint(words):
        return None
    return (resources.files("hf_transfer_kit.commands") / "help" / f"{name}.txt").read_text("utf-8").rstrip("\n")


def overview() -> str:
    """All commands, a line each."""
    wide = max(map(len, COMMANDS))
    return "\n".join(
        [
            f"{PROGRAM}: transfer learning on the stock Trainer, measured and compared.",
            "",
            *(f"  {PROGRAM} {name:<{wide}}  {command.words}" for name, command in COMMANDS.items()),
            "",
            f"`{PROGRAM} run` alone tries it on data that is built in. `{PROGRAM} COMMAND --help` tells the flags.",
            f"Several processes: `accelerate launch -m hf_transfer_kit COMMAND ...`. Version {__version__}.",
        ]
    )
