"""Tables that a phone can show: each cell knows the name of its column, so that rows can be stacked."""

from __future__ import annotations

import re

_TABLE = re.compile(r"<table.*?</table>", re.DOTALL)
_HEAD = re.compile(r"<thead>.*?</thead>", re.DOTALL)
_CELL = re.compile(r"<t([hd])([^>]*)>(.*?)</t\1>", re.DOTALL)
_ROW = re.compile(r"<tr[^>]*>.*?</tr>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


def with_labels(page: str) -> str:
    """A page whose tables' cells have their column's name as ``data-label``; names in it are escaped already.

    Args:
        page: HTML of the templates here; tables without a head stay as they are.

    Example:
        >>> with_labels("<table><thead><tr><th>task</th></tr></thead><tbody><tr><td>2</td></tr></tbody></table>")
        '<table><thead><tr><th>task</th></tr></thead><tbody><tr><td data-label="task">2</td></tr></tbody></table>'
    """
    return _TABLE.sub(lambda found: _labelled(found[0]), page)


def _labelled(table: str) -> str:
    head = _HEAD.search(table)
    if head is None:
        return table
    names = [_TAG.sub("", cell[3]).strip().replace('"', "&#34;") for cell in _CELL.finditer(head[0])]
    return table[: head.end()] + _ROW.sub(lambda row: _labelled_row(row[0], names), table[head.end() :])


def _labelled_row(row: str, names: list[str]) -> str:
    left = iter(names)
    return _CELL.sub(lambda cell: f'<t{cell[1]}{cell[2]} data-label="{next(left, "")}">{cell[3]}</t{cell[1]}>', row)
