"""The picture of a depth search: accuracy and cost by number of frozen layer groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hf_transfer_kit.data.class_balance import words
from hf_transfer_kit.reports.pictures import canvas
from hf_transfer_kit.values import DepthSearch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHOSEN, _COMPARED, _CUT = "#D55E00", "#0072B2", "#9DB4C0"


def depth_picture(search: DepthSearch, *, narrow: bool = False) -> Figure:
    """Validation accuracy with error bars, and the cost of a training row, by depth; the chosen depth marked.

    Depths that were compared last stand in full colour, those cut before in grey with the steps they were given.

    Example:
        >>> len(depth_picture(search).axes)
        2
    """
    figure = canvas(6.4 if narrow else 4, narrow=narrow)
    accuracy, cost = (
        figure.subplots(2, 1, height_ratios=(3, 2)) if narrow else figure.subplots(1, 2, width_ratios=(3, 2))
    )
    for result in search.results:
        last = result.rung == search.last_rung
        colour = _CHOSEN if result.depth == search.chosen else _COMPARED if last else _CUT
        accuracy.errorbar(
            result.depth,
            result.accuracy, yerr=result.error, color=colour, marker="o" if last else "s",
            markersize=8 if last else 5, capsize=4, linewidth=1.8,
        )  # fmt: skip
        cost.bar(result.depth, result.cost, color=colour, hatch=None if result.cached else "//", edgecolor="white")
        if not last:
            accuracy.annotate(
                f"{result.steps} steps", (result.depth, result.accuracy - result.error), xytext=(0, -6),
                textcoords="offset points", ha="center", va="top", rotation=90, fontsize=7.5, color="#52606d",
            )  # fmt: skip
    own = search.result(search.chosen)
    accuracy.annotate(
        "chosen", (own.depth, own.accuracy + own.error), xytext=(0, 7), textcoords="offset points",
        ha="center", va="bottom", color=_CHOSEN, fontweight="bold",
    )  # fmt: skip
    ends = "the input" if search.direction == "first" else "the head"
    names = [str(result.depth) for result in search.results]
    every = 1 + (len(names) - 1) // 14 if narrow else 1
    for axes in (accuracy, cost):
        axes.set_xticks([result.depth for result in search.results][::every], names[::every])
        axes.set_xlabel(f"frozen layer groups, counted from {ends}")
    accuracy.set(ylabel=f"validation {words(search.metric)}", title="Round: compared last; square: cut before")
    words_of_cost = "cost of a row\n(forward passes)" if narrow else "cost of a training row (forward passes)"
    cost.set(ylabel=words_of_cost, title="Hatched: nothing computed once")
    for axes in (accuracy, cost):
        axes.title.set_fontsize(9)
    accuracy.margins(x=0.1)  # the word above the last point stays inside
    low = min(result.accuracy - result.error for result in search.results)
    high = max(result.accuracy + result.error for result in search.results)
    span = max(high - low, 0.02)
    # Room for the words below and above the points.
    accuracy.set_ylim(low - 0.3 * span, high + 0.2 * span)
    return figure


def depth_alt_text(search: DepthSearch) -> str:
    """The picture in words."""
    points = "; ".join(
        f"{result.depth}: {result.accuracy:.1%} ± {result.error:.1%} after {result.steps} steps"
        for result in search.results
    )
    measured = f"validation {words(search.metric)} by number of frozen layer groups"
    return f"Points: {measured}. {points}. Chosen: {search.chosen}."


def save_depth_picture(search: DepthSearch, path: str | Path) -> None:
    """Writes the picture; the ending of ``path`` decides the format (.png, .svg, .pdf).

    Example:
        >>> save_depth_picture(search, "depth.svg")
    """
    depth_picture(search).savefig(path, dpi=150)
