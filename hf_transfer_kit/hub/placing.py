"""How files come into an output folder: written beside, then moved, each whole or not at all, and in the manifest."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub.manifest import STAGED, described, foreign_files, is_as_written, write_manifest, written_files


@contextmanager
def written_beside(output_dir: str | Path, *, whole: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to write into; at the end its files go to their places in ``output_dir``, ``report.json`` last.

    Nothing is moved when the body fails. The manifest names every file afterwards, and files have the usual mode.

    Args:
        output_dir: Made when absent.
        whole: Whether this is all that the kit leaves there: other files that it wrote earlier are removed.
        overwrite: Whether files of others under the same names are replaced.

    Raises:
        SettingsError: When a file of others is in the way; what was written is kept in a folder beside it and named.

    Example:
        >>> with written_beside("out") as staged:
        ...     _ = (staged / "report.json").write_text("{}")
        >>> import os
        >>> sorted(os.listdir("out"))
        ['hf_transfer_kit.json', 'report.json']
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=folder, prefix=f"{STAGED}{os.getpid()}-"))
    try:
        yield staged
        _place(staged, folder, whole=whole, overwrite=overwrite)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what runs that were killed while they wrote have left, but not what a process that lives is writing."""
    for path in folder.glob(f"{STAGED}*"):
        if path.is_symlink() or _lives(path.name.removeprefix(STAGED).partition("-")[0]):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.endswith("-manifest"):
            path.unlink(missing_ok=True)


def _place(staged: Path, folder: Path, *, whole: bool, overwrite: bool) -> None:
    _usual_modes(staged)
    new = {path.relative_to(staged).as_posix(): described(path) for path in staged.rglob("*") if path.is_file()}
    foreign = foreign_files(folder, new)
    if foreign and not (overwrite and all((folder / name).is_file() for name in foreign)):
        kept = _free_name(folder)
        staged.rename(kept)
        write_manifest(kept, new)
        raise SettingsError(
            f"{', '.join(foreign[:8])} in {folder} came there from elsewhere or was changed since, so it was not "
            f"replaced. What was to be written there is whole in {kept}: move it where you want it."
        )
    old = written_files(folder)
    kept_ones = {name for name in old if is_as_written(folder, name, old)}
    stale = [name for name in kept_ones if whole and name not in new]
    # Whichever of the two a kill leaves there, the next run knows it.
    before = {name: described(folder / name) for name in new if name in kept_ones}
    between = {name: {**entry, "before": before[name]} if name in before else entry for name, entry in new.items()}
    write_manifest(folder, {**old, **between})
    for name in sorted(new, key=lambda name: name == "report.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / name, folder / name)
    for name in stale:
        (folder / name).unlink()
        _remove_empty(folder, (folder / name).parent)
    write_manifest(folder, {**({} if whole else old), **new})


def _lives(number: str) -> bool:
    if not number.isdigit() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _usual_modes(staged: Path) -> None:
    """Modes as any program's files have them; safetensors and mkdtemp make theirs for one user alone."""
    probe = staged / ".mode"
    probe.touch()
    usual = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in staged.rglob("*"):
        if path.is_file():
            path.chmod(usual)
    staged.chmod(usual | (usual & 0o444) >> 2)


def _free_name(folder: Path) -> Path:
    names = (folder / f"results-{number}" for number in range(1, 1_000_000))
    return next(path for path in names if not os.path.lexists(path))


def _remove_empty(top: Path, folder: Path) -> None:
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
