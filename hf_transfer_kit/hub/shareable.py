"""What of a run's folder may be shared: the files that the run wrote, where none tells a secret or a place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from hf_transfer_kit.errors import HubError, first_line
from hf_transfer_kit.hub.command import settings_without_local_paths
from hf_transfer_kit.hub.manifest import MANIFEST, is_as_written, linked, written_files
from hf_transfer_kit.hub.metadata import UNFINISHED
from hf_transfer_kit.hub.secrets import secret_in, told_in
from hf_transfer_kit.reports import TransferReport, read_report, sections_of

_TEXTS = (".json", ".yaml", ".md", ".html", ".txt", ".jinja", ".csv", ".svg")
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
    """The files that may be uploaded, sorted: those of the manifest and no other, whatever its name.

    Returns:
        Paths relative to the folder. Without any weights at its top, those that are there.

    Raises:
        HubError: When there is no manifest, or a file of it is gone, a link, or (of weights) another than was measured.
    """
    files = written_files(folder)
    if not files:
        raise HubError(
            f"{folder} holds no {MANIFEST}, which names what the run wrote and so what may be pushed. Run the script "
            "again, into a new folder; one run is all that a folder holds."
        )
    for name in files:
        if linked(folder, name):
            raise HubError(
                f"{folder / name} is a link, and what it leads to may be anything, so nothing was pushed. Put the file "
                "itself in its place."
            )
        if (folder / name).is_file() and name.endswith(".safetensors") and not is_as_written(folder, name, files):
            raise HubError(
                f"{folder / name} is not the file that the run wrote, so its figures do not hold for it, and nothing "
                "was pushed. Run the script again."
            )
    there = [Path(name) for name in files if (folder / name).is_file()]
    has_weights = any(file.suffix == ".safetensors" and len(file.parts) == 1 for file in there)
    if has_weights and (gone := sorted(name for name in files if Path(name) not in there)):
        raise HubError(
            f"{', '.join(gone)} of {folder} is gone, so nothing was pushed. Run the script again, or take it out of "
            f"{MANIFEST} if it is to stay away."
        )
    return sorted(there)


def shared_content(path: Path) -> bytes | None:
    """A file as it is pushed where that is not as it lies: settings name the last part of paths only; else None."""
    if path.name != "config.yaml":
        return None
    return settings_without_local_paths(path.read_text(encoding="utf-8", errors="replace")).encode("utf-8", "replace")


def check_texts(folder: Path, files: Sequence[Path], *, token: str | None = None) -> None:
    """Refuses files that hold an access token, or a path of this machine in a text.

    Tokens of the common services are looked for (``hf_transfer_kit.hub.secrets``), in the metadata of pictures and
    weights too.

    Args:
        folder: Where the files are.
        files: Relative to it.
        token: The token in use, whatever its shape.

    Raises:
        HubError: With the file, the kind or the line; a token is never repeated.
    """
    own = [str(place) for place in (Path.home(), Path.cwd(), folder.absolute()) if len(place.parts) > 1]
    for file in files:
        shared = shared_content(folder / file)
        told = list(told_in(folder / file)) if shared is None else [shared.decode()]
        for text in told:
            kind = "an access token" if token and token in text else secret_in(text)
            if kind:
                raise HubError(
                    f"{file} holds {kind}, so nothing was pushed. Take it out there, and revoke it if the file was "
                    "shared before."
                )
        if file.suffix not in _TEXTS or file.name in _VOCABULARIES:
            continue
        for number, line in enumerate(told[0].splitlines(), 1):
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
    for section, found in () if figures else sections_of(report):
        figures |= section.card.figures(found)
    wrong = [name for name, value in figures.items() if not isinstance(value, (int, float)) or not math.isfinite(value)]
    if wrong or not figures:
        finding = f"gave no finite {', '.join(wrong)}" if wrong else "gave no figures"
        raise HubError(
            f"The run's evaluation {finding}, so nothing was pushed. Look into {report.title or 'the report'}."
        )
