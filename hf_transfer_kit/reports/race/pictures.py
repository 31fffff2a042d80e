"""Pictures of a race, as SVG text: what each strategy reached, and how it trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.metrics import larger_is_better
from hf_transfer_kit.metrics.words import FRACTIONS, metric_words
from hf_transfer_kit.reports.pictures import COLOURS, MUTED, empty_figure, legend_label, short, svg_text
from hf_transfer_kit.values import StrategyResult


def learning_curves(results: Sequence[StrategyResult]) -> str:
    """Validation metric and loss by step, one line a strategy."""
    figure = empty_figure(9, 3.4)
    accuracy, loss = figure.subplots(1, 2)
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
    loss.set_ylim(bottom=0)
    accuracy.legend(fontsize=8, frameon=False)
    return svg_text(figure)


def metric_bars(results: Sequence[StrategyResult], winner: str | None) -> str:
    """Test metric of each strategy with its spread, a dot a seed; the winner in full colour, no transfer hatched."""
    figure = empty_figure(9, 0.5 * len(results) + 0.9)
    axes = figure.subplots()
    metric = results[0].metric
    fraction = metric in FRACTIONS
    for row, result in enumerate(results):
        value, spread = result.test[metric], result.test_spread.get(metric, 0.0)
        axes.barh(
            row,
            value,
            xerr=spread or None,
            color=COLOURS[0] if result.strategy == winner else MUTED,
            hatch="//" if result.strategy == "from_scratch" else None,
            edgecolor="white",
        )
        if len(result.test_by_seed) > 1:
            offsets = np.linspace(-0.22, 0.22, len(result.test_by_seed))
            axes.plot(
                result.test_by_seed, row + offsets, linestyle="none", marker="o", markersize=4, color="#1c2733",
                markeredgecolor="white", gid=f"seeds-{result.strategy}",
            )  # fmt: skip
        place = min(value + spread, 0.97) + 0.01 if fraction else max(value, 0.0) + spread
        text = f"{value:.1%}" if fraction else f" {value:.3f}"
        axes.text(place, row, text, va="center", fontsize=9)
    axes.set(xlabel=f"test {metric_words(metric)}{'' if larger_is_better(metric) else ' (less is better)'}")
    axes.margins(x=0.15)
    if fraction and all(result.test[metric] <= 1 for result in results):
        axes.set_xlim(0, 1.08)
    axes.set_yticks(range(len(results)), [short(result.strategy, 40) for result in results])
    axes.invert_yaxis()
    return svg_text(figure)
