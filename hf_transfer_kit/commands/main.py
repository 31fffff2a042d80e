"""``hf-transfer COMMAND``: which file does what, and help that imports nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module, resources

from hf_transfer_kit import __version__
from hf_transfer_kit.commands.edge.named_commands import COMMANDS, PROGRAM
from hf_transfer_kit.commands.edge.sign_of_life import alive
from hf_transfer_kit.near_names import did_you_mean


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
