"""The picture of several sources, as SVG text: what each method reached on the source that was left out."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from hf_transfer_kit.reports.pictures import COLOURS, empty_figure, legend_label, short, svg_text
from hf_transfer_kit.values import Generalisation

_INK, _PALE = "#1c2733", "#e4e7eb"
_MARKERS = "osD^vP*X"


def left_out_picture(found: Generalisation) -> str:
    """One row a method: its accuracy on each source left out, one mark a source, a small dot a seed.

    A bar spans from the worst to the best source, a tall line marks the mean, a hollow square what the same networks
    reached on the sources that they learned from. The chosen method's name stands in bold.
    """
    figure = empty_figure(9, 0.7 * len(found.results) + 1.5)
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
    axes.set(xlabel="accuracy on validation rows; line: mean over the sources left out")
    axes.set_yticks(range(len(found.results)), [short(result.method, 34) for result in found.results])
    for label, result in zip(axes.get_yticklabels(), found.results, strict=True):
        label.set_fontweight("bold" if result.method == found.chosen else "normal")
    axes.set_ylim(len(found.results) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    figure.legend(loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    return svg_text(figure)
