"""What the kit wrote into a folder, by name, size and hash: these files alone are replaced, pushed and cleaned."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST = "hf_transfer_kit.json"
"""Its name in every output folder."""
STAGED = ".unfinished-"
"""How the names of half-written things begin; the number of their process follows."""
_ABOUT = "Files that hf_transfer_kit wrote here. It replaces, pushes and cleans these alone; all else is yours."


def written_files(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Relative name -> ``size`` in bytes and ``sha256``, as the manifest has them; empty where there is none.

    Names that would lead out of the folder are left out: a manifest may have come with somebody else's folder.
    """
    path = Path(folder) / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: dict(entry) for name, entry in found.items() if _inside(name)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_manifest(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the manifest, whole or not at all."""
    staged = folder / f"{STAGED}{os.getpid()}-manifest"
    text = json.dumps({"about": _ABOUT, "files": dict(sorted(files.items()))}, indent=2)
    staged.write_bytes((text + "\n").encode("utf-8", "backslashreplace"))
    os.replace(staged, folder / MANIFEST)


def described(path: Path) -> dict[str, Any]:
    """A file's size and hash."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def is_as_written(folder: Path, name: str, files: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a file is the one that the manifest names: no link, and with its contents.

    While files are moved to their places the manifest holds what each was ``before`` as well, so that a run that is
    killed between two of them knows all of them again.
    """
    path = folder / name
    if name not in files or linked(folder, name) or not path.is_file():
        return False
    known = [files[name], files[name].get("before") or {}]
    if path.stat().st_size not in [entry.get("size") for entry in known]:
        return False
    return described(path)["sha256"] in [entry.get("sha256") for entry in known]


def foreign_files(folder: str | Path, names: Iterable[str]) -> list[str]:
    """What lies under these names without being as the kit wrote it, sorted.

    Args:
        folder: May be absent.
        names: Relative to it, with patterns such as ``model-*-of-*.safetensors``.
    """
    folder, found = Path(folder), set()
    files = written_files(folder)
    if os.path.lexists(folder / MANIFEST) and not files and not _is_empty_manifest(folder):
        found.add(MANIFEST)
    for name in names:
        # A file or a link where a folder of ours would be.
        above = [str(part) for part in PurePosixPath(name).parents if str(part) != "." and "*" not in str(part)]
        blocked = [part for part in above if os.path.lexists(folder / part) and not _is_own_folder(folder / part)]
        found.update(blocked)
        there = (
            [path.relative_to(folder).as_posix() for path in folder.glob(name)]
            if "*" in name
            else [name] * os.path.lexists(folder / name)
        )
        if not blocked:
            found.update(each for each in there if not is_as_written(folder, each, files))
    return sorted(found)


def linked(folder: Path, name: str) -> bool:
    """Whether a file, or a folder on the way to it, is a symbolic link."""
    parts = PurePosixPath(name).parts
    return any((folder / Path(*parts[: count + 1])).is_symlink() for count in range(len(parts)))


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_empty_manifest(folder: Path) -> bool:
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("files") == {}
    except (OSError, ValueError, AttributeError):
        return False
