"""What of a run's folder may be shared: which files, and that no text in them tells a secret or a place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from hf_transfer_kit.errors import HubError, first_line
from hf_transfer_kit.hub.metadata import UNFINISHED
from hf_transfer_kit.reports import TransferReport, read_report

# Weights without code, settings, words and pictures. Pickle (*.bin, *.pt, *.pkl, training_args.bin) is not among them.
SUFFIXES = (
    ".safetensors", ".json", ".yaml", ".md", ".html", ".txt", ".jinja", ".model", ".csv", ".png", ".jpg", ".svg",
)  # fmt: skip
# Checkpoints, trackers' logs, caches and source networks lie beside the results and stay at home.
FOLDERS = ("adapter", "processors", "pictures")
_TEXTS = (".json", ".yaml", ".md", ".html", ".txt", ".jinja", ".csv", ".svg")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}")
_ABSOLUTE = re.compile(r"(?<![\w/.:~+,<-])(?:/[\w.@+-]+){2,}|\b[A-Za-z]:\\+Users\\+\w+")
_OF_PEOPLE = (
    "home",
    "Users",
    "root",
    "tmp",
    "mnt",
    "media",
    "scratch",
    "workspace",
    "Volumes",
    "content",
    "var",
    "data",
)
# Words of these come from the corpus, not from this machine.
_VOCABULARIES = (
    "tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "special_tokens_map.json",
)  # fmt: skip


def shareable_files(folder: Path) -> list[Path]:
    """The files of a folder that may be uploaded, sorted, relative to it.

    Those are files of ``SUFFIXES`` at its top and in ``FOLDERS``; hidden ones are left out.
    """
    return sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (path.parent == folder or path.relative_to(folder).parts[0] in FOLDERS)
    )


def check_texts(folder: Path, files: Sequence[Path], *, token: str | None = None) -> None:
    """Refuses texts that hold an access token or a path of this machine.

    Args:
        folder: Where the files are.
        files: Relative to it.
        token: The token in use, whatever its shape.

    Raises:
        HubError: With the file and the line; a token is never repeated.
    """
    own = [str(place) for place in (Path.home(), Path.cwd(), folder.absolute()) if len(place.parts) > 1]
    for file in files:
        if file.suffix not in _TEXTS:
            continue
        text = (folder / file).read_text(encoding="utf-8", errors="replace")
        if _TOKEN.search(text) or (token and token in text):
            raise HubError(
                f"{file} holds an access token, so nothing was pushed. Take it out there, and revoke the token if the "
                "file was shared before."
            )
        if file.name in _VOCABULARIES:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if place := local_place(line, own):
                raise HubError(
                    f"{file}, line {number}, names a place on this machine ({place}), so nothing was pushed. Write a "
                    "name or a relative path there."
                )


def local_place(line: str, own: Sequence[str] = ()) -> str | None:
    """The first path of this machine in a line: one that exists here, or lies where people's files do.

    Args:
        line: Any text.
        own: Folders that are looked for as they are.
    """
    for found in _ABSOLUTE.finditer(line):
        path = found.group().rstrip(".")
        if "\\" in path or path.split("/")[1] in _OF_PEOPLE or Path(path).exists():
            return path
    return next((place for place in own if re.search(rf"(?<!\w){re.escape(place)}(?![\w-])", line)), None)


def checked_report(folder: Path) -> TransferReport:
    """The folder's report, which must be whole.

    Raises:
        HubError: When there is none, it cannot be read, or it tells of a run that did not end or of an evaluation that
            gave no finite figures.
    """
    path = folder / "report.json"
    if not path.is_file():
        raise HubError(
            f"{folder} holds no report.json, so the run did not finish, or was no run of the kit. Only results with "
            "their figures are pushed; the model alone can be with its own push_to_hub."
        )
    try:
        report = read_report(path)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise HubError(f"{path} cannot be read as a report ({first_line(error)}). Run the script again.") from error
    if UNFINISHED in report.data:
        raise HubError(
            f"The run in {folder} is not over, or was interrupted, so nothing was pushed. Run it to its end; its "
            "folder may be used again."
        )
    check_figures(report)
    return report


def check_figures(report: TransferReport) -> None:
    """Refuses a report without finite figures: its evaluation failed.

    Raises:
        HubError: With the figures that are wrong.
    """
    figures = dict(report.metrics)
    if report.adaptation is not None and not figures:
        # A target without labels has no figures of its own.
        figures = {
            f"{result.method}: source_accuracy": result.source_accuracy
            for result in report.adaptation.results
            if result.source_accuracy is not None
        }
    wrong = [name for name, value in figures.items() if not isinstance(value, (int, float)) or not math.isfinite(value)]
    if wrong or not figures:
        finding = f"gave no finite {', '.join(wrong)}" if wrong else "gave no figures"
        raise HubError(
            f"The run's evaluation {finding}, so nothing was pushed. Look into {report.title or 'the report'}."
        )
