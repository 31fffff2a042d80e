"""The picture of several sources, as SVG text: what each method reached on the source that was left out."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from hf_transfer_kit.reports.pictures import COLOURS, canvas, legend_below, legend_label, name_rows, svg_text
from hf_transfer_kit.values import Generalisation

_INK, _PALE = "#1c2733", "#e4e7eb"
_MARKERS = "osD^vP*X"


def left_out_picture(found: Generalisation, *, narrow: bool = False) -> str:
    """One row a method: its accuracy on each source left out, one mark a source, a small dot a seed.

    A bar spans from the worst to the best source, a tall line marks the mean, a hollow square what the same networks
    reached on the sources that they learned from. The chosen method's name stands in bold.
    """
    legend_rows = len(found.sources) + 1 if narrow else 1
    figure = canvas(0.7 * len(found.results) + 1.2 + 0.2 * legend_rows, narrow=narrow)
    axes = figure.subplots()
    for row, result in enumerate(found.results):
        means = result.by_domain
        low, high = min(means.values()), max(means.values())
        axes.barh(row, high - low, left=low, height=0.34, color=_PALE, gid=f"range-{result.method}")
        axes.plot([result.mean] * 2, [row - 0.3, row + 0.3], color=_INK, linewidth=2, gid=f"mean-{result.method}")
        for index, (name, values) in enumerate(result.left_out.items()):
            colour, marker = COLOURS[index % len(COLOURS)], _MARKERS[index % len(_MARKERS)]
            offsets = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(values, row + offsets, linestyle="none", marker=".", markersize=5, color=colour, alpha=0.6)
            axes.plot(
                [fmean(values)], [row], linestyle="none", marker=marker, markersize=9, color=colour,
                markeredgecolor="white", label=f"{legend_label(name, 18)} left out" if row == 0 else None,
                gid=f"left-out-{result.method}-{name}",
            )  # fmt: skip
        axes.plot(
            [result.known], [row], linestyle="none", marker="s", markersize=9, markerfacecolor="none",
            markeredgecolor=_INK, label="sources learned from" if row == 0 else None, gid=f"known-{result.method}",
        )  # fmt: skip
    told = ("accuracy on validation rows", "line: mean over the sources left out")
    axes.set(xlabel=("\n" if narrow else "; ").join(told))
    name_rows(axes, [result.method for result in found.results], narrow=narrow, limit=34)
    for label, result in zip(axes.texts if narrow else axes.get_yticklabels(), found.results, strict=True):
        label.set_fontweight("bold" if result.method == found.chosen else "normal")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    legend_below(figure, axes, narrow=narrow)
    return svg_text(figure)
