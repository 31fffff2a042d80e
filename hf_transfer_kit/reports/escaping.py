"""Names that others gave, made harmless where they are shown: in Markdown, HTML, SVG and YAML they are text alone.

Classes, tasks, datasets and models bear whatever names their authors chose. Every text of a report goes through here
before a page or a card is made of it; ``report.json`` keeps the names as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from hf_transfer_kit.plain_texts import UNSEEN, named, plain_text

T = TypeVar("T")
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*[]~|"} | {"<": "&lt;", "&": "&amp;"})

_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside a word it makes nothing slanted


def plain_code(code: str) -> str:
    """A command or a program with its lines, in which everything else is seen."""
    return "\n".join(UNSEEN.sub(named, line) for line in code.split("\n"))


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
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", safe)


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
