"""Small tables as text for consoles and as HTML for notebooks, both of the same cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from hf_transfer_kit.plain_texts import plain_text

_LINE = "border:0;border-bottom:1px solid rgba(128,128,128,.4)"
_CELL = "padding:.2em .7em;background:none;color:inherit"


@dataclass(frozen=True)
class PlainTable:
    """Cells that are formatted already, and sentences around them.

    Args:
        header: Names of the columns.
        rows: A text for each of them.
        left: Columns that stand left; the others, which are numbers, stand right.
        before: Sentences above.
        after: Sentences below.
        marked: Index of the row that was chosen.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: frozenset[int] = frozenset({0})
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    marked: int | None = None

    def text(self) -> str:
        """Aligned columns, two spaces apart; where a row was chosen, each begins with two places for its mark."""
        widths = [max(len(line[column]) for line in (self.header, *self.rows)) for column in range(len(self.header))]
        lines = []
        for place, row in enumerate((self.header, *self.rows)):
            cells = zip(row, widths, strict=True)
            shown = (c.ljust(w) if column in self.left else c.rjust(w) for column, (c, w) in enumerate(cells))
            mark = "" if self.marked is None else "* " if place == self.marked + 1 else "  "
            lines.append(mark + "  ".join(shown).rstrip())
        return "\n".join([*self.before, *(lines if self.header else []), *self.after])

    def html(self) -> str:
        """The same without scripts, styles of a page or anything from elsewhere; readable on light and dark ground.

        Names are text, whatever they hold.
        """
        head = self._row(self.header, "th")
        body = "".join(self._row(row, "td", bold=place == self.marked) for place, row in enumerate(self.rows))
        table = f'<table style="border-collapse:collapse"><thead>{head}</thead><tbody>{body}</tbody></table>'
        return html_lines(self.before) + (table if self.header else "") + html_lines(self.after)

    def _row(self, cells: Sequence[str], tag: str, *, bold: bool = False) -> str:
        weight = ";font-weight:bold" if bold else ""
        return "<tr>{}</tr>".format(
            "".join(
                f'<{tag} style="{_CELL};{_LINE};text-align:{"left" if column in self.left else "right"}{weight}">'
                f"{html_text(cell)}</{tag}>"
                for column, cell in enumerate(cells)
            )
        )


class Tabular:
    """What is printed as a table, and shown as one in notebooks."""

    def table(self) -> PlainTable:
        """What is printed."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        return self.table().html()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """For IPython, whose text would else be all that the fields hold, weights of networks included."""
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def html_text(text: str) -> str:
    """A text as HTML in which it is text alone."""
    return escape(plain_text(text))


def html_lines(sentences: Iterable[str]) -> str:
    """A paragraph each."""
    return "".join(f"<p>{html_text(sentence)}</p>" for sentence in sentences)
