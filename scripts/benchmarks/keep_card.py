"""Keeps the card of a finished run with the project: model_cards/NAME/README.md and its pictures.

    python scripts/benchmarks/keep_card.py outputs/birds birds

The card is taken as the run wrote it, so that no figure is typed by hand; weights stay where they are. Its snippet
loads from the folder that its own command writes to. A card that is shared cuts the folders of paths; here paths to
folders beside the repository are written out again, from the run's config.yaml, so that the command runs as it stands.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import yaml
from huggingface_hub import ModelCard

from hf_transfer_kit.errors import SettingsError, TransferKitError
from hf_transfer_kit.hub.shareable import check_texts, checked_report
from hf_transfer_kit.hub.usage import at_repository

CARDS = Path(__file__).resolve().parents[2] / "model_cards"
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")


def keep_card(run: Path, name: str, *, cards: Path = CARDS, overwrite: bool = False) -> Path:
    """Copies a run's card and the pictures that it shows.

    Args:
        run: Output folder of a script, finished.
        name: Of the folder under ``cards``: letters, digits, ``-``, ``_`` and ``.``.
        cards: Where cards are kept.
        overwrite: Whether a card of that name may be replaced.

    Returns:
        The new README.md.

    Raises:
        SettingsError: When the name is none or taken, the card shows a picture that is not there or lies elsewhere, or
            it names no command.
        HubError: When the run is not finished, or a text holds a token or a place of this machine.
    """
    target = cards / name
    if not re.fullmatch(r"\w[\w.-]*", name) or name == "pictures":
        raise SettingsError(f"{name!r} is no name for a card: letters, digits, '-', '_' and '.', and not pictures.")
    if target.exists() and not overwrite:
        raise SettingsError(f"{target} is there already; choose another name, or give --overwrite to replace it.")
    report = checked_report(run)
    text = (run / "README.md").read_text(encoding="utf-8")
    ModelCard(text, ignore_metadata_errors=False)
    if not report.command or report.command not in text:
        raise SettingsError(f"The card in {run} does not say the command of its run, so nobody could repeat it.")
    pictures = [Path(path) for path in dict.fromkeys(_PICTURE.findall(text))]
    if astray := [str(path) for path in pictures if path.parts[:1] != ("pictures",) or not (run / path).is_file()]:
        raise SettingsError(f"The card in {run} shows {', '.join(astray)}, which is no file in its pictures folder.")
    check_texts(run, [Path("README.md"), *pictures])
    if target.exists():
        shutil.rmtree(target)
    for path in pictures:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / path, target / path)
    target.mkdir(parents=True, exist_ok=True)
    kept = target / "README.md"
    text = text.replace(report.command, written_out(report.command, run / "config.yaml"))
    kept.write_text(at_repository(text, written_to(report.command) or f"outputs/{name}"), encoding="utf-8")
    return kept


def written_out(command: str, config: Path) -> str:
    """The command with the paths to neighbours of the working folder that the run's settings hold."""
    if not config.is_file():
        return command
    values = [value for found in yaml.safe_load(config.read_text()).values() for value in _texts(found)]
    values = [os.path.relpath(value) if os.path.isabs(value) else value for value in values]
    whole = {Path(value).name: value for value in values if re.match(r"\.\./[^.]", value)}
    return shlex.join(whole.get(word, word) for word in shlex.split(command))


def _texts(value: object) -> list[str]:
    """All texts in a setting, however nested."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for entry in inner for text in _texts(entry)]


def written_to(command: str) -> str | None:
    """The ``--output_dir`` of a command; None where it takes the default."""
    words = shlex.split(command.replace("--output_dir=", "--output_dir "))
    place = words.index("--output_dir") + 1 if "--output_dir" in words else len(words)
    return words[place] if place < len(words) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="Output folder of a finished run.")
    parser.add_argument("name", help="Of the folder under model_cards.")
    parser.add_argument("--overwrite", action="store_true", help="Replace a card of that name.")
    given = parser.parse_args()
    try:
        print(f"The card is {keep_card(given.run, given.name, overwrite=given.overwrite)}.")
    except TransferKitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
