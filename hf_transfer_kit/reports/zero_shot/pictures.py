"""Pictures of classes never seen, as SVG text: accuracies, the seen-unseen curve, the table, attributes as read."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from hf_transfer_kit.reports.pictures import COLOURS, MUTED, empty_figure, legend_label, short, svg_text
from hf_transfer_kit.values import UnseenClasses

_LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")  # yellow is no line's colour on white
_MOST_ATTRIBUTES = 40
_MOST_CLASSES = 30


def unseen_bars(found: UnseenClasses) -> str:
    """Accuracy among the unseen classes by method, a dot a split; lines mark chance and having their labels."""
    results = found.results
    figure = empty_figure(9, 0.42 * len(results) + 1.3)
    axes = figure.subplots()
    places = np.arange(len(results))[::-1]
    means = [result.mean("unseen_accuracy") for result in results]
    colours = [COLOURS[0] if result.name == found.chosen else MUTED for result in results]
    axes.barh(places, means, color=colours, height=0.6)
    for place, result in zip(places, results, strict=True):
        values = [split.unseen_accuracy for split in result.splits]
        axes.scatter(values, [place] * len(values), s=12, color="black", zorder=3)
    axes.axvline(found.chance, color=COLOURS[1], linestyle="--", label="chance")
    if found.labelled:
        axes.axvline(fmean(found.labelled), color=COLOURS[2], linestyle=":", label="with their labels")
    axes.set_yticks(places, [short(result.name, 26) for result in results])
    axes.set(xlabel="accuracy among the unseen classes", xlim=(0, 1.02))
    axes.legend(
        fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2
    )  # above: dots are everywhere
    return svg_text(figure)


def seen_unseen_picture(found: UnseenClasses) -> str:
    """Unseen by seen accuracy as the scores of seen classes are lowered, first split; dots are the chosen gammas."""
    figure = empty_figure(6.4, 4.6)
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
    axes.legend(fontsize=8, frameon=False)
    return svg_text(figure)


def table_picture(found: UnseenClasses) -> str:
    """The table, attributes by classes; unseen ones of the first split last and named with a star.

    Of many attributes those are shown in which the classes differ most, of many classes the first.
    """
    unseen = set(found.unseen[0])
    order = sorted(range(len(found.classes)), key=lambda index: found.classes[index] in unseen)[-_MOST_CLASSES:]
    values = np.asarray(found.values)[order]
    kept = np.sort(np.argsort(-values.std(axis=0), kind="stable")[:_MOST_ATTRIBUTES])
    shown = values[:, kept]
    span = np.ptp(shown, axis=0)
    scaled = (shown - shown.min(axis=0)) / np.where(span > 0, span, 1)
    figure = empty_figure(2.6 + 0.3 * len(order), 1.4 + 0.2 * len(kept))
    axes = figure.subplots()
    axes.imshow(scaled.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [f"{short(found.classes[i])}{' *' if found.classes[i] in unseen else ''}" for i in order]
    axes.set_xticks(range(len(order)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(kept)), [short(found.attributes[i], 30) for i in kept], fontsize=7)
    axes.axvline(len(order) - len(unseen) - 0.5, color=COLOURS[1], linewidth=2)
    return svg_text(figure)


def attribute_bars(found: UnseenClasses, *, most: int = 24) -> str:
    """How well attributes are read off rows of unseen classes: the best and the worst read where there are many."""
    figures = list(found.attribute_figures)
    if len(figures) > most:
        figures = [*figures[: most // 2], *figures[-most // 2 :]]
    figure = empty_figure(9, 0.24 * len(figures) + 1.0)
    axes = figure.subplots()
    places = np.arange(len(figures))[::-1]
    colours = [COLOURS[0] if entry.accuracy > 0.5 else MUTED for entry in figures]
    axes.barh(places, [entry.accuracy for entry in figures], color=colours, height=0.6)
    axes.axvline(0.5, color="black", linewidth=1)
    axes.set_yticks(places, [short(entry.attribute, 34) for entry in figures], fontsize=8)
    axes.set(xlabel="rows of which it is rightly said whether the class has it", xlim=(0, 1.02))
    return svg_text(figure)
