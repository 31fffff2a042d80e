"""Pictures of classes never seen, as SVG text: accuracies, the seen-unseen curve, the table, attributes as read."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from hf_transfer_kit.reports.pictures import (
    COLOURS,
    MUTED,
    bar_height,
    bar_rows,
    canvas,
    legend_below,
    legend_label,
    name_rows,
    short,
    svg_text,
)
from hf_transfer_kit.values import UnseenClasses

_LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")  # yellow is no line's colour on white
_MOST_ATTRIBUTES = 40
_MOST_CLASSES, _MOST_ON_A_PHONE = 30, 14


def unseen_bars(found: UnseenClasses, *, narrow: bool = False) -> str:
    """Accuracy among the unseen classes by method with its spread over splits, a dot a split.

    Lines mark chance and having their labels.
    """
    results = found.results
    figure = bar_rows(len(results), narrow=narrow, beside=1.3)
    axes = figure.subplots()
    height = bar_height(narrow=narrow)
    for row, result in enumerate(results):
        values = [split.unseen_accuracy for split in result.splits]
        axes.barh(
            row, result.mean("unseen_accuracy"), height, color=COLOURS[0] if result.name == found.chosen else MUTED,
            xerr=result.spread("unseen_accuracy") if len(values) > 1 else None,
            error_kw={"capsize": 3, "elinewidth": 1.2},
        )  # fmt: skip
        offsets = np.linspace(-0.3, 0.3, len(values)) * height if len(values) > 1 else np.zeros(1)
        axes.scatter(values, row + offsets, s=14, color="black", edgecolor="white", linewidth=0.6, zorder=3)
    axes.axvline(found.chance, color=COLOURS[1], linestyle="--", label="chance")
    if found.labelled:
        axes.axvline(fmean(found.labelled), color=COLOURS[2], linestyle=":", label="with their labels")
    name_rows(axes, [result.name for result in results], narrow=narrow, limit=34 if narrow else 26)
    axes.set(xlabel="accuracy among the unseen classes", xlim=(0, 1.02))
    legend_below(figure, axes, narrow=narrow)
    return svg_text(figure)


def seen_unseen_picture(found: UnseenClasses, *, narrow: bool = False) -> str:
    """Unseen by seen accuracy as the scores of seen classes are lowered, first split; dots are the chosen gammas."""
    columns = 1 if narrow else 3
    figure = canvas(3.8 + 0.2 * -(-len(found.lines) // columns), narrow=narrow, width=6.4)
    axes = figure.subplots()
    for index, line in enumerate(found.lines):
        chosen = line.name == found.chosen
        style = "-" if index < len(_LINES) else "--"
        colour = _LINES[index % len(_LINES)]
        axes.plot(
            line.seen, line.unseen, style, color=colour, linewidth=2.4 if chosen else 1.2, label=legend_label(line.name)
        )
        axes.plot(*line.point, marker="o", color=colour, markersize=8 if chosen else 5)
    axes.set(xlabel="accuracy on seen classes", ylabel="accuracy on unseen classes", xlim=(0, 1.02), ylim=(0, 1.02))
    legend_below(figure, axes, narrow=narrow, wide_columns=columns)
    return svg_text(figure)


def table_picture(found: UnseenClasses, *, narrow: bool = False) -> str:
    """The table, attributes by classes; unseen ones of the first split last and named with a star.

    Of many attributes those are shown in which the classes differ most, of many classes the first.
    """
    unseen = set(found.unseen[0])
    order = sorted(range(len(found.classes)), key=lambda index: found.classes[index] in unseen)
    order = order[-(_MOST_ON_A_PHONE if narrow else _MOST_CLASSES) :]
    values = np.asarray(found.values)[order]
    kept = np.sort(np.argsort(-values.std(axis=0), kind="stable")[:_MOST_ATTRIBUTES])
    shown = values[:, kept]
    span = np.ptp(shown, axis=0)
    scaled = (shown - shown.min(axis=0)) / np.where(span > 0, span, 1)
    figure = canvas(1.4 + 0.2 * len(kept), narrow=narrow, width=2.6 + 0.3 * len(order))
    axes = figure.subplots()
    axes.imshow(scaled.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [f"{short(found.classes[i])}{' *' if found.classes[i] in unseen else ''}" for i in order]
    axes.set_xticks(range(len(order)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(kept)), [short(found.attributes[i], 18 if narrow else 30) for i in kept], fontsize=7)
    axes.axvline(len(order) - min(len(unseen), len(order)) - 0.5, color=COLOURS[1], linewidth=2)
    return svg_text(figure)


def attribute_bars(found: UnseenClasses, *, most: int = 24, narrow: bool = False) -> str:
    """How well attributes are read off rows of unseen classes: the best and the worst read where there are many."""
    figures = list(found.attribute_figures)
    if len(figures) > most:
        figures = [*figures[: most // 2], *figures[-most // 2 :]]
    figure = canvas(0.24 * len(figures) + 1.0, narrow=narrow)
    axes = figure.subplots()
    places = np.arange(len(figures))[::-1]
    colours = [COLOURS[0] if entry.accuracy > 0.5 else MUTED for entry in figures]
    axes.barh(places, [entry.accuracy for entry in figures], color=colours, height=0.6)
    axes.axvline(0.5, color="black", linewidth=1)
    axes.set_yticks(places, [short(entry.attribute, 20 if narrow else 34) for entry in figures], fontsize=8)
    said = ("rows of which it is rightly said", "whether the class has it")
    axes.set(xlabel=("\n" if narrow else " ").join(said), xlim=(0, 1.02))
    return svg_text(figure)
