"""What files, devices and other libraries raise while a script runs, as sentences; a fault of the kit is none of it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

import hf_transfer_kit
from hf_transfer_kit.commands.edge.places import portable
from hf_transfer_kit.compat import http_client
from hf_transfer_kit.disk import is_full
from hf_transfer_kit.errors import FullDiskError, NotFiniteError, TransferKitError, first_line

_OF_FILES = {
    errno.EROFS: "The disk can only be read",
    errno.EACCES: "The permission is missing",
    errno.EPERM: "It is not permitted",
    errno.EIO: "The disk failed",
    errno.ENOTDIR: "A part of the path is no folder",
    errno.EISDIR: "It is a folder, not a file",
    errno.ENAMETOOLONG: "The name is too long",
    errno.EMFILE: "Too many files are open",
}
"""FileNotFoundError is left out: what the kit itself does not find is a fault of its own, and shows where."""
_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.I)
_PEER = re.compile(r"connection (closed|reset) by peer|gloo|nccl|heartbeat|socket timeout", re.I)
_SMALLER = "Give a smaller --batch_size and --per_device_eval_batch_size, or a smaller network."


def sentence_of(error: BaseException) -> str | None:
    """What failed and what to do, for people; None for what nobody foresaw, whose trace is wanted."""
    if (sentence := full_disk_sentence(error)) is not None:
        return sentence
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _OF_FILES:
            where = f" ({cause.filename})" if cause.filename else ""
            return (
                f"{_OF_FILES[cause.errno]}{where}. Give folders that can be written and files that can be read "
                "(--output_dir, --cache_dir, --dataset)."
            )
    if isinstance(error, torch.OutOfMemoryError):
        return f"The memory of the device does not suffice: {first_line(error)} {_SMALLER}"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _MEMORY.search(str(error))):
        return f"The memory of this machine does not suffice: {first_line(error)}. {_SMALLER}"
    if isinstance(error, RuntimeError) and _PEER.search(str(error)):
        return (
            "Another process of this run has ended or cannot be reached, so this one cannot go on: "
            f"{first_line(error)}. The other one's own words, or its machine's log, tell why."
        )
    if isinstance(error, (HfHubHTTPError, http_client().HTTPError)):
        return (
            f"The Hub did not answer as expected: {first_line(error)}. Check the connection, and run the command again."
        )
    if isinstance(error, (SafetensorError, pyarrow.ArrowInvalid)):
        return f"A file that was read is damaged: {first_line(error)}. Give another, or make it anew."
    return None


def full_disk_sentence(error: BaseException) -> str | None:
    """What to do where a disk is full, whichever library met it; None where none is."""
    if not is_full(error):
        return None
    if isinstance(error, FullDiskError):
        return str(error)
    name = next((cause.filename for cause in _causes(error) if isinstance(cause, OSError) and cause.filename), None)
    place = f" to write {portable(str(name), cut=True)}" if name else ""
    return (
        f"No space is left on a disk{place}. What was written before is as it was: free some space, or name other "
        "disks (--output_dir, --cache_dir), and give the same command again."
    )


def status_of(error: TransferKitError) -> int:
    """Exit status of what the kit raises on purpose: 2 for what was typed, 1 for what failed."""
    failed = any(isinstance(cause, OSError) and cause.errno in _OF_FILES for cause in _causes(error))
    return 1 if failed or is_full(error) or isinstance(error, NotFiniteError) else 2


def is_foreign(error: BaseException) -> bool:
    """Whether it was raised in other people's code: the last frame lies neither in the kit nor beside this file."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return False
    raised_in = Path(frame.tb_frame.f_code.co_filename).resolve()
    own = (Path(__file__).resolve().parent, Path(hf_transfer_kit.__file__).resolve().parent)
    return not any(raised_in.is_relative_to(folder) for folder in own)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__
