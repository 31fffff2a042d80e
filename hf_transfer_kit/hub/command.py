"""The command of a run as others may read it."""

from __future__ import annotations

import re


def without_local_paths(command: str) -> str:
    """The command with the folders of absolute and upward paths cut off: only their last part says something."""
    return re.sub(r"(?<![\w.])(?:~|\.{1,2}|(?=/))(?:/[^\s/'\"]+)*/([^\s/'\"]+)", r"\1", command)
