"""Pictures of a report, as SVG text; drawn without touching matplotlib's global state."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hf_transfer_kit.reports.escaping import plain_text
from hf_transfer_kit.values import ConfusionTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008: eight colours that people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MUTED = "#9DB4C0"
_MOST_CLASSES, _MOST_ON_A_PHONE = 20, 10
_WIDE, _NARROW = 9.0, 3.8  # inches
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def canvas(height: float, *, narrow: bool, width: float = _WIDE) -> Figure:
    """A figure for a page: ``width`` inches, or, for a phone, as narrow as its text stays readable there."""
    from matplotlib.figure import Figure  # loaded with the first picture

    return Figure(figsize=(_NARROW if narrow else width, height), layout="constrained")


def bar_rows(count: int, *, narrow: bool, beside: float) -> Figure:
    """A figure for ``count`` rows of bars or dots, first row on top, and ``beside`` inches for axis and legend."""
    return canvas((0.62 if narrow else 0.5) * count + beside, narrow=narrow)


def name_rows(axes: Axes, names: Sequence[str], *, narrow: bool, limit: int = 40) -> None:
    """Names the rows 0, 1, ... from above: beside them, or, where it is narrow, above each."""
    shown = [short(name, limit) for name in names]
    axes.set_ylim(len(names) - 0.5, -0.7 if narrow else -0.5)
    if not narrow:
        axes.set_yticks(range(len(names)), shown)
        return
    axes.set_yticks(range(len(names)), [""] * len(names))
    for row, name in enumerate(shown):
        axes.text(0.01, row - 0.3, name, transform=axes.get_yaxis_transform(), va="bottom", fontsize=9)


def bar_height(*, narrow: bool) -> float:
    """Of a row's 1: narrow rows have their name above."""
    return 0.42 if narrow else 0.7


def legend_below(figure: Figure, axes: Axes, *, narrow: bool, wide_columns: int = 4) -> None:
    """What lines and marks mean, outside the axes, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    columns = (1 if max(map(len, labels)) > 20 else 2) if narrow else wide_columns
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(columns, len(handles)), fontsize=9, frameon=False
    )


def confusion_picture(confusion: ConfusionTable, *, narrow: bool = False) -> str:
    """True by predicted class: counts, coloured by share of the row; of many classes the most confused ones."""
    confusion = most_confused(confusion, _MOST_ON_A_PHONE if narrow else _MOST_CLASSES)
    counts = np.asarray(confusion.counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.42 * len(counts)
    figure = canvas(min(side, 3.8) if narrow else side, narrow=narrow, width=side + 0.8)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(counts)), [short(label) for label in confusion.labels], rotation=45, ha="right")
    axes.set_yticks(range(len(counts)), [short(label) for label in confusion.labels])
    axes.set(xlabel="predicted", ylabel="true")
    for row, column in np.argwhere(counts > 0):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    return svg_text(figure)


def most_confused(confusion: ConfusionTable, limit: int) -> ConfusionTable:
    """The ``limit`` classes with most rows off the diagonal, in their old order; the table itself if it is small."""
    counts = np.asarray(confusion.counts)
    if len(counts) <= limit:
        return confusion
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    kept = np.sort(np.argsort(-wrong, kind="stable")[:limit])
    rows = tuple(tuple(int(count) for count in row) for row in counts[np.ix_(kept, kept)])
    return ConfusionTable(tuple(confusion.labels[index] for index in kept), rows)


def short(label: str, limit: int = 18) -> str:
    """A label for a picture: not longer than ``limit``, and not taken for a formula."""
    label = plain_text(label)
    label = label if len(label) <= limit else label[: limit - 1] + "…"
    return label.replace("$", r"\$")


def legend_label(label: str, limit: int = 40) -> str:
    """The same for a line or a bar: matplotlib leaves those that begin with an underscore out of legends."""
    label = short(label, limit)
    return f"\N{THIN SPACE}{label}" if label.startswith("_") else label


def svg_text(figure: Figure) -> str:
    """The figure as the text of an <svg> element."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    # Text stays text: small files, and a screen reader can read it. Figure.savefig would draw everything twice.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hf_transfer_kit"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text[text.index("<svg") :])
