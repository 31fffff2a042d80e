"""Pictures of advice, as SVG text: expected differences, the quadrants of size and similarity, ranked sources."""

from __future__ import annotations

from hf_transfer_kit.reports.pictures import (
    COLOURS,
    MUTED,
    bar_rows,
    canvas,
    legend_below,
    legend_label,
    name_rows,
    svg_text,
)
from hf_transfer_kit.values import Advice, Recommendation, SourceRanking


def outlook_picture(found: Recommendation, *, narrow: bool = False) -> str:
    """Expected accuracy of each strategy against fine-tuning everything, with its error; the advised one in colour."""
    figure = bar_rows(len(found.outlook), narrow=narrow, beside=1.0)
    axes = figure.subplots()
    for place, entry in enumerate(found.outlook):
        colour = COLOURS[0] if entry.strategy == found.strategy else MUTED
        axes.errorbar(100 * entry.difference, place, xerr=100 * entry.error, fmt="o", color=colour, capsize=3)
    axes.axvline(0, color="black", linewidth=0.8)
    name_rows(axes, [entry.strategy for entry in found.outlook], narrow=narrow)
    told = ("expected points of test accuracy", "against fine-tuning everything")
    axes.set(xlabel=("\n" if narrow else " ").join(told))
    return svg_text(figure)


def quadrants_picture(advice: Advice, *, narrow: bool = False) -> str:
    """Measured cases by size and gain, coloured by what won, and the case asked about."""
    figure = canvas(4.9 if narrow else 4.8, narrow=narrow, width=7.2)
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
    legend_below(figure, axes, narrow=narrow)
    return svg_text(figure)


def ranking_picture(ranking: SourceRanking, *, narrow: bool = False) -> str:
    """Score of each source with its error, best first."""
    figure = bar_rows(len(ranking.sources), narrow=narrow, beside=1.0)
    axes = figure.subplots()
    for place, source in enumerate(ranking.sources):
        colour = COLOURS[0] if place == 0 else MUTED
        axes.errorbar(source.score.value, place, xerr=source.score.error or 0, fmt="o", color=colour, capsize=3)
    name_rows(axes, [source.name for source in ranking.sources], narrow=narrow, limit=34)
    axes.set(xlabel=ranking.by.replace("_", " "))
    return svg_text(figure)
