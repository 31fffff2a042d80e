"""The command of a run as others may read it."""

from __future__ import annotations

import re
from collections.abc import Sequence


def without_local_paths(command: str) -> str:
    """The command with the folders of absolute and upward paths cut off: only their last part says something."""
    return re.sub(r"(?<![\w.])(?:~|\.{1,2}|(?=/))(?:/[^\s/'\"]+)*/([^\s/'\"]+)", r"\1", command)


def without_tokens(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command without ``--hub_token`` and its value, however short the flag was written.

    Example:
        >>> without_tokens(["--hub_token", "hf_secret", "--seed", "1"])
        ['--seed', '1']
    """
    kept, rest = [], iter(arguments)
    for argument in rest:
        name, equals, _ = argument.removeprefix("--").replace("-", "_").partition("=")
        if argument.startswith("--") and "hub_token".startswith(name) and len(name) > len("hub_"):
            if not equals:
                next(rest, None)
        else:
            kept.append(argument)
    return kept
