"""Full disks, told as such whichever library meets one."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_transfer_kit.errors import FullDiskError

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
# Libraries that write in Rust or C++ keep the system's words alone; torch's writer of archives keeps not even these.
_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|os error (28|122)\b|unexpected pos \d+ vs \d+"
    r"|PytorchStreamWriter failed writing"
)


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, is a disk without space (or a quota that is spent)."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, FullDiskError) or (isinstance(found, OSError) and found.errno in _NUMBERS):
            return True
        if _WORDS.search(str(found)):
            return True
        found = found.__cause__ or found.__context__
    return False


@contextmanager
def full_disk_told(sentence: str) -> Iterator[None]:
    """Raises FullDiskError with this sentence when the block meets a full disk; other errors go on as they are."""
    try:
        yield
    except FullDiskError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise FullDiskError(sentence) from error


def free_bytes(path: str | Path) -> int:
    """Bytes that may still be written where ``path`` lies or will lie."""
    return shutil.disk_usage(existing_part(path)).free


def existing_part(path: str | Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return place
