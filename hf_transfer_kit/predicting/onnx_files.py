"""Where an ONNX file may be written, and how it comes there: whole or not at all, and never over one of others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from hf_transfer_kit.disk import full_disk_told
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub.manifest import STAGED, is_as_written, written_files
from hf_transfer_kit.hub.placing import written_beside

ENDING = ".onnx"
MADE_BY = "hf_transfer_kit.version"
"""Key of the metadata by which a file of the kit is known."""
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_onnx_installed() -> None:
    """Refuses to begin without the libraries of the extra.

    Raises:
        SettingsError: With what is missing and the command that installs it.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"Export needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            'pip install "hf_transfer_kit[onnx]".'
        )


def check_onnx_file(path: str | Path, *, overwrite: bool = False) -> Path:
    """The path of an ONNX file that may be written.

    Args:
        path: Of the file.
        overwrite: Whether it may be there, where the kit made it.

    Raises:
        SettingsError: When its ending is another, its folder is not there, or it is there already and is not to be
            replaced; what others made is never replaced.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ENDING:
        raise SettingsError(f"{path.name} does not end in {ENDING}; give a name that does, such as model{ENDING}.")
    if path.is_dir():
        raise SettingsError(f"{path} is a folder; give the name of a file in it.")
    if not path.parent.is_dir():
        raise SettingsError(f"{path} cannot be written, for there is no folder {path.parent}. Make it first.")
    if not os.path.lexists(path):
        return path
    if path.is_symlink() or not _is_of_the_kit(path):
        raise SettingsError(f"{path} is there, and this kit did not make it. Give another name, or move it away.")
    if not overwrite:
        raise SettingsError(f"{path} is there already. Give another name, or overwrite (--overwrite) to replace it.")
    return path


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; the file is renamed at the end, and nothing is left where the body fails.

    In a folder of a run it is entered in the manifest, so that it is pushed with the run and goes when that does.

    Raises:
        FullDiskError: When the disk is full.
    """
    with full_disk_told(f"No space is left to write {path.name}; what was there is as it was. Free some space."):
        if written_files(path.parent):
            with written_beside(path.parent, overwrite=True) as folder:
                yield folder / path.name
            return
        staged = path.with_name(f"{STAGED}{os.getpid()}-{path.name}")
        try:
            yield staged
            os.replace(staged, path)
        finally:
            staged.unlink(missing_ok=True)


def _is_of_the_kit(path: Path) -> bool:
    """Whether the manifest beside it names it, or the file itself says who made it."""
    if is_as_written(path.parent, path.name, written_files(path.parent)):
        return True
    import onnx
    from google.protobuf.message import DecodeError

    try:
        found = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError):
        return False
    return any(entry.key == MADE_BY for entry in found.metadata_props)
