"""Pictures of advice, as SVG text: expected differences, the quadrants of size and similarity, ranked sources."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.reports.pictures import COLOURS, MUTED, empty_figure, legend_label, short, svg_text
from hf_transfer_kit.values import Advice, Recommendation, SourceRanking


def outlook_picture(found: Recommendation) -> str:
    """Expected accuracy of each strategy against fine-tuning everything, with its error; the advised one in colour."""
    figure = empty_figure(9, 0.45 * len(found.outlook) + 1.0)
    axes = figure.subplots()
    places = np.arange(len(found.outlook))[::-1]
    for place, entry in zip(places, found.outlook, strict=True):
        colour = COLOURS[0] if entry.strategy == found.strategy else MUTED
        axes.errorbar(100 * entry.difference, place, xerr=100 * entry.error, fmt="o", color=colour, capsize=3)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, [short(entry.strategy, 40) for entry in found.outlook])
    axes.set(xlabel="expected points of test accuracy against fine-tuning everything", ylim=(-0.6, len(places) - 0.4))
    return svg_text(figure)


def quadrants_picture(advice: Advice) -> str:
    """Measured cases by size and gain, coloured by what won, and the case asked about."""
    figure = empty_figure(7.2, 4.8)
    axes = figure.subplots()
    winners = list(dict.fromkeys(case.won for case in advice.cases))
    for index, winner in enumerate(sorted(winners)):
        own = [case for case in advice.cases if case.won == winner]
        axes.scatter(
            [case.rows_per_class for case in own],
            [100 * case.gain for case in own],
            color=COLOURS[index % len(COLOURS)],
            edgecolor="white",
            s=42,
            label=legend_label(winner),
        )
    measures = advice.recommendation.measures
    axes.scatter([measures.rows_per_class], [100 * measures.gain], marker="*", s=260, color="black", label="this case")
    axes.axvline(advice.many_rows, color=MUTED, linestyle="--")
    axes.axhline(100 * advice.similar_gain, color=MUTED, linestyle="--")
    axes.set(xscale="log", xlabel="labelled rows a class", ylabel="gain over features of random weights, points")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return svg_text(figure)


def ranking_picture(ranking: SourceRanking) -> str:
    """Score of each source with its error, best first."""
    figure = empty_figure(9, 0.45 * len(ranking.sources) + 1.0)
    axes = figure.subplots()
    places = np.arange(len(ranking.sources))[::-1]
    for index, (place, source) in enumerate(zip(places, ranking.sources, strict=True)):
        colour = COLOURS[0] if index == 0 else MUTED
        axes.errorbar(source.score.value, place, xerr=source.score.error or 0, fmt="o", color=colour, capsize=3)
    axes.set_yticks(places, [short(source.name, 34) for source in ranking.sources])
    axes.set(xlabel=ranking.by.replace("_", " "), ylim=(-0.6, len(places) - 0.4))
    return svg_text(figure)
