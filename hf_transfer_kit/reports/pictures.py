"""Pictures of a report, as SVG text; drawn without touching matplotlib's global state."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np

from hf_transfer_kit.reports.escaping import plain_text
from hf_transfer_kit.values import ConfusionTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito 2008: eight colours that people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MUTED = "#9DB4C0"
_MOST_CLASSES = 20
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def empty_figure(width: float, height: float) -> Figure:
    """A figure of so many inches; matplotlib is loaded with the first."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def confusion_picture(confusion: ConfusionTable) -> str:
    """True by predicted class: counts, coloured by share of the row; of many classes the most confused ones."""
    confusion = most_confused(confusion, _MOST_CLASSES)
    counts = np.asarray(confusion.counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.42 * len(counts)
    figure = empty_figure(side + 0.8, side)
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

    buffer = io.StringIO()
    # Text stays text: small files, and a screen reader can read it.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hf_transfer_kit"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text[text.index("<svg") :])
