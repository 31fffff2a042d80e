"""Names that others gave, made harmless where they are shown: in Markdown, HTML, SVG and YAML they are text alone.

Classes, tasks, datasets and models bear whatever names their authors chose. Every text of a report goes through here
before a page or a card is made of it; ``report.json`` keeps the names as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

T = TypeVar("T")
_LONGEST = 2_000
# Controls, what turns the direction of writing or hides itself, lone surrogates and what is no character.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
_NEWLINES = {"\n": "⏎", "\r": "⏎", "\t": " "}
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*[]~|"} | {"<": "&lt;", "&": "&amp;"})

_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside a word it makes nothing slanted


def plain_text(text: str) -> str:
    """One line in which everything is seen: control characters and marks of direction as ``<U+202E>``, breaks as ⏎.

    Of more than 2,000 characters the first are kept, with a hash of all.
    """
    if len(text) > _LONGEST:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        text = f"{text[: _LONGEST // 2]}… ({len(text):,} characters, {digest})"
    return _UNSEEN.sub(lambda found: _NEWLINES.get(found[0], _named(found)), text)


def plain_code(code: str) -> str:
    """A command or a program with its lines, in which everything else is seen."""
    return "\n".join(_UNSEEN.sub(_named, line) for line in code.split("\n"))


def _named(found: re.Match[str]) -> str:
    return f"<U+{ord(found[0]):04X}>"


def markdown_text(text: str) -> str:
    """The same for a paragraph, a heading or a cell of Markdown: no tag, link, picture, code or column comes of it."""
    return _EDGE_UNDERSCORE.sub(r"\\_", plain_text(text).translate(_MARKDOWN))


def code_span(text: str) -> str:
    """A text as inline code of Markdown, in a table too; its own backticks end nothing."""
    text = plain_text(text)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text[:1] in ("`", " ") or text[-1:] in ("`", " ") else ""
    return f"{ticks}{space}{text}{space}{ticks}".replace("|", r"\|")


def code_fence(code: str) -> str:
    """What opens and closes a block of this code: backticks, more than the code has in a row."""
    return "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))


def quoted(text: str) -> str:
    """A text as Python writes it, in double quotes and with what is not seen as an escape."""
    safe = json.dumps(text, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", safe)


def mapped(value: T, change: Callable[[str], str]) -> T:
    """Plain data with every text in it changed, names of mappings included, whatever the depth."""
    return cast(T, _mapped(value, change))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _mapped(getattr(value, field.name), change) for field in fields(value)})
    if isinstance(value, Mapping):
        return {_mapped(name, change): _mapped(entry, change) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_mapped(entry, change) for entry in value)
    return value
