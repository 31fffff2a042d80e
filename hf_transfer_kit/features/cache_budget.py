"""How much a cache will take, said before it is made, and what to choose when that is too much."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from hf_transfer_kit.disk import existing_part
from hf_transfer_kit.errors import FullDiskError, SettingsError

_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_UNITS.update({"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40})


def bytes_of(budget: int | float | str, *, option: str = "cache_budget") -> int:
    """Bytes that a budget allows: a number, or a text such as ``"4GB"``, ``"500 MiB"`` or ``"0"``.

    Args:
        budget: The number or the text.
        option: Whose it is, for the sentence.

    Raises:
        SettingsError: When the text cannot be read or is negative.
    """
    found = re.fullmatch(r"\s*([0-9]{1,30}(?:\.[0-9]*)?)\s*([A-Za-z]*)\s*", str(budget))
    if found is None or found[2].upper() not in _UNITS:
        raise SettingsError(
            f"{option}={budget!r} is no size; write bytes, or a number and KB, MB, GB, KiB, MiB or GiB."
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


def readable_bytes(count: float) -> str:
    """Bytes for people: ``"14.3 MB"``."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def check_budget(needed: float, budget: int | float | str | None, *, what: str, dtype: str, views: int) -> None:
    """Raises SettingsError when a cache of ``needed`` bytes is more than the budget; names the choices.

    Args:
        needed: Bytes of the cache.
        budget: What is allowed; None allows everything.
        what: What is to be cached, for the message.
        dtype: What it would be stored as.
        views: Versions of each row.
    """
    if budget is None or needed <= (allowed := bytes_of(budget)):
        return
    choices = []
    if dtype == "float32":
        choices.append(f"half precision, dtype='float16' or 'bfloat16' ({readable_bytes(needed / 2)})")
    if views > 1:
        choices.append(f"fewer views ({readable_bytes(needed / views)} with one)")
    choices += ["more frozen groups, whose outputs are usually smaller", "a larger cache_budget", "no cache"]
    raise SettingsError(
        f"Caching {what} takes {readable_bytes(needed)}, more than the cache budget of {readable_bytes(allowed)}. "
        f"Choose {', '.join(choices[:-1])}, or {choices[-1]}."
    )


def check_disk(needed: float, cache_dir: str | Path, *, what: str) -> None:
    """Raises FullDiskError when a cache is more than the whole disk could ever hold.

    Args:
        needed: Bytes of the cache.
        cache_dir: Where it would lie; need not exist.
        what: What is to be cached, for the message.
    """
    whole = shutil.disk_usage(existing_part(cache_dir)).total
    if needed > whole:
        raise FullDiskError(
            f"Caching {what} takes about {readable_bytes(needed)}, and the disk of {cache_dir} has "
            f"{readable_bytes(whole)} in all. Choose fewer rows or views, more frozen groups, or no cache."
        )
