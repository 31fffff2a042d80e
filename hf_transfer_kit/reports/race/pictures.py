"""Pictures of a race, as SVG text: what each strategy reached, and how it trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.metrics import larger_is_better
from hf_transfer_kit.metrics.words import FRACTIONS, metric_words
from hf_transfer_kit.reports.pictures import (
    COLOURS,
    MUTED,
    bar_height,
    bar_rows,
    canvas,
    legend_below,
    legend_label,
    name_rows,
    svg_text,
)
from hf_transfer_kit.values import StrategyResult


def learning_curves(results: Sequence[StrategyResult], *, narrow: bool = False) -> str:
    """Validation metric and loss by step, one line a strategy."""
    figure = canvas(6.2 if narrow else 3.8, narrow=narrow)
    accuracy, loss = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
    for index, result in enumerate(results):
        style = {
            "color": COLOURS[index % len(COLOURS)],
            "marker": "o",
            "markersize": 4,
            "label": legend_label(result.strategy),
        }
        if result.strategy == "from_scratch":
            style |= {"linestyle": "--"}
        points = [point for point in result.curve if point.accuracy is not None]
        accuracy.plot([point.step for point in points], [point.accuracy for point in points], **style)
        points = [point for point in result.curve if point.validation_loss is not None]
        loss.plot([point.step for point in points], [point.validation_loss for point in points], **style)
    metric = results[0].metric
    accuracy.set(xlabel="step", ylabel=f"validation {metric_words(metric)}")
    if metric in FRACTIONS:
        accuracy.set_ylim(0, 1.02)
    loss.set(xlabel="step", ylabel="validation loss")
    loss.set_ylim(0, 1.05 * loss.get_ylim()[1])
    legend_below(figure, accuracy, narrow=narrow)
    return svg_text(figure)


def metric_bars(results: Sequence[StrategyResult], winner: str | None, *, narrow: bool = False) -> str:
    """Test metric of each strategy with its spread, a dot a seed; the winner in full colour, no transfer hatched."""
    figure = bar_rows(len(results), narrow=narrow, beside=0.9)
    axes = figure.subplots()
    height = bar_height(narrow=narrow)
    metric = results[0].metric
    fraction = metric in FRACTIONS
    for row, result in enumerate(results):
        value, spread = result.test[metric], result.test_spread.get(metric, 0.0)
        axes.barh(
            row,
            value,
            height,
            xerr=spread or None,
            error_kw={"capsize": 3, "elinewidth": 1.2},
            color=COLOURS[0] if result.strategy == winner else MUTED,
            hatch="//" if result.strategy == "from_scratch" else None,
            edgecolor="white",
        )
        if len(result.test_by_seed) > 1:
            offsets = np.linspace(-0.3, 0.3, len(result.test_by_seed)) * height
            axes.plot(
                result.test_by_seed, row + offsets, linestyle="none", marker="o", markersize=4, color="#1c2733",
                markeredgecolor="white", gid=f"seeds-{result.strategy}",
            )  # fmt: skip
        furthest = max(value + spread, *result.test_by_seed, 0.0) if result.test_by_seed else max(value, 0.0) + spread
        place = min(furthest, 1.0) + 0.015 if fraction else furthest
        text = f"{value:.1%}" if fraction else f" {value:.3f}"
        axes.text(place, row, text, va="center", fontsize=9)
    axes.set(xlabel=f"test {metric_words(metric)}{'' if larger_is_better(metric) else ' (less is better)'}")
    axes.margins(x=0.15)
    if fraction and all(result.test[metric] <= 1 for result in results):
        axes.set_xlim(0, 1.2 if narrow else 1.1)
        axes.set_xticks(np.linspace(0, 1, 6))
    name_rows(axes, [result.strategy for result in results], narrow=narrow)
    return svg_text(figure)
