"""Names that others gave as one line in which everything is seen, wherever they are shown."""

from __future__ import annotations

import hashlib
import re

_LONGEST = 2_000
# Controls, what turns the direction of writing or hides itself, lone surrogates and what is no character.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
_NEWLINES = {"\n": "⏎", "\r": "⏎", "\t": " "}


def plain_text(text: str) -> str:
    """One line in which everything is seen: control characters and marks of direction as ``<U+202E>``, breaks as ⏎.

    Of more than 2,000 characters the first are kept, with a hash of all.
    """
    if len(text) > _LONGEST:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        text = f"{text[: _LONGEST // 2]}… ({len(text):,} characters, {digest})"
    return UNSEEN.sub(lambda found: _NEWLINES.get(found[0], named(found)), text)


def named(found: re.Match[str]) -> str:
    """A character that is not seen, by its number."""
    return f"<U+{ord(found[0]):04X}>"
