"""The name that was probably meant, for sentences that refuse one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """A question to stand behind a refusal, such as ``" Did you mean 'full'?"``; empty where nothing is near.

    Args:
        name: What was given.
        known: What it may be.
    """
    by_letters = {str(candidate).casefold(): str(candidate) for candidate in known}
    near = get_close_matches(str(name).casefold(), by_letters, n=1)
    return f" Did you mean {by_letters[near[0]]!r}?" if near else ""
