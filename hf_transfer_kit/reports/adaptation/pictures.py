"""Pictures of an adaptation, as SVG text: features of both domains, accuracies, and what was watched in training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer_kit.reports.adaptation.words import BASELINES
from hf_transfer_kit.reports.pictures import (
    COLOURS,
    MUTED,
    bar_height,
    bar_rows,
    canvas,
    legend_label,
    name_rows,
    short,
    svg_text,
)
from hf_transfer_kit.values import Adaptation, AdaptationResult, FeatureMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Petroff 2021 ("Accessible color sequences for data visualization"): ten colours that people with any colour vision
# tell apart.
_CLASS_COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
_MOST_IN_LEGEND = 12
_DOMAIN_COLOURS = {"source": COLOURS[0], "target": COLOURS[1]}
_INK, _SOFT, _PALE = "#1c2733", "#52606d", "#e4e7eb"
_HEALTHY_DOMAIN_ACCURACY = (0.55, 0.9)

# Title of a panel -> scalar -> its name for people. Losses are found by how their names end.
_WATCHED = {
    "Domain accuracy": {"domain_accuracy": "domain accuracy"},
    "How unsure, how diverse (of 1)": {
        "source_entropy": "source entropy",
        "target_entropy": "target entropy",
        "target_diversity": "target diversity",
    },
    "Length of features": {"source_feature_norm": "source", "target_feature_norm": "target"},
    "Adversarial strength (lambda)": {"adversarial_strength": "lambda"},
}


def feature_maps_picture(maps: Sequence[FeatureMap], class_names: Sequence[str], *, narrow: bool = False) -> str:
    """One row a map, such as before and after: the same points coloured by domain, then by class.

    By class, target rows are filled and source rows hollow. Up to 10 classes have colours for any colour vision, more
    take samples of a colormap; beyond 12 there is no legend of classes.

    Args:
        maps: At least one.
        class_names: Names of all classes, at the indices that the maps hold.
        narrow: Whether for a phone: one panel a row.

    Example:
        >>> feature_maps_picture(adaptation.feature_maps, ["cat", "dog", "owl"]).startswith("<svg")
        True
    """
    names = class_names if len(class_names) <= _MOST_IN_LEGEND else ()
    columns, panel = (3, 6.4) if narrow else (5, 4.2)
    figure = canvas(panel * len(maps) + 0.8 + 0.25 * math.ceil(len(names) / columns), narrow=narrow)
    shape = (2 * len(maps), 1) if narrow else (len(maps), 2)
    panels = figure.subplots(*shape, squeeze=False).reshape(-1, 2)
    colours = class_colours(len(class_names))
    for row, (found, (by_domain, by_class)) in enumerate(zip(maps, panels, strict=True)):
        points, is_target, classes = np.asarray(found.points), np.asarray(found.is_target), np.asarray(found.classes)
        for domain, rows in (("source", ~is_target), ("target", is_target)):
            _dots(by_domain, points[rows], _DOMAIN_COLOURS[domain], filled=True, gid=f"map-{row}-{domain}")
            for index in np.unique(classes[rows]):
                _dots(
                    by_class, points[rows & (classes == index)], colours[index], filled=domain == "target",
                    gid=f"map-{row}-{domain}-class-{index}",
                )  # fmt: skip
        by_domain.set_title(f"{short(found.title, 40)}: by domain", fontsize=11)
        by_class.set_title(
            f"{short(found.title, 40)}: by {'predicted class' if found.predicted else 'class'}", fontsize=11
        )
        for axes in (by_domain, by_class):
            axes.set(xticks=[], yticks=[])  # the axes of a t-SNE have no meaning
    _feature_legends(figure, names, colours, columns=columns)
    return svg_text(figure)


def class_colours(count: int) -> list[str]:
    """A colour for each of ``count`` classes: a set for any colour vision up to 10, samples of a colormap beyond."""
    if count <= len(_CLASS_COLOURS):
        return list(_CLASS_COLOURS[:count])
    import matplotlib

    samples = matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, count))
    return [matplotlib.colors.to_hex(sample) for sample in samples]


def adaptation_bars(adaptation: Adaptation, *, narrow: bool = False) -> str:
    """Test accuracy on the target by method with its spread over seeds, and one dot a seed.

    The chosen method stands in full colour, an upper bound that learns from target labels hatched; a dashed line marks
    ``source_only``. Methods without target labels to test on are left out.

    Args:
        adaptation: At least one result has test metrics.
        narrow: Whether for a phone.

    Example:
        >>> adaptation_bars(adaptation).startswith("<svg")
        True
    """
    results = [result for result in adaptation.results if result.test]
    figure = bar_rows(len(results), narrow=narrow, beside=1.1)
    axes = figure.subplots()
    height = bar_height(narrow=narrow)
    for row, result in enumerate(results):
        value = result.test["accuracy"]
        chosen, bound = result.method == adaptation.chosen, result.uses_target_labels
        colour = COLOURS[0] if chosen else _PALE if bound else MUTED
        axes.barh(
            row, value, height, color=colour, hatch="//" if bound else None, edgecolor=_SOFT if bound else "white",
            xerr=result.test_spread.get("accuracy") or None if len(result.seeds) > 1 else None,
            error_kw={"capsize": 3, "elinewidth": 1.2}, gid=f"bar-{result.method}",
        )  # fmt: skip
        # Seeds stand below each other, so that equal ones are seen.
        seeds = len(result.test_by_seed)
        offsets = np.linspace(-0.3, 0.3, seeds) * height if seeds > 1 else np.zeros(seeds)
        axes.plot(
            result.test_by_seed, row + offsets, linestyle="none", marker="o",
            markersize=4.5, color=_INK, markeredgecolor="white", gid=f"seeds-{result.method}",
        )  # fmt: skip
        furthest = max(value + result.test_spread.get("accuracy", 0.0), *result.test_by_seed)
        axes.text(furthest + 0.02, row, f"{value:.1%}", va="center", fontsize=10)
        if result.method in BASELINES:
            axes.axvline(value, color=_INK, linestyle="--", linewidth=1.2, gid="source-only-line")
    told = ("accuracy on the target's test rows", "dots: seeds; dashed: without adapting")
    axes.set(xlim=(0, 1.2 if narrow else 1.12), xlabel=("\n" if narrow else "; ").join(told))
    axes.set_xticks(np.linspace(0, 1, 6))
    name_rows(axes, [result.method for result in results], narrow=narrow, limit=34)
    return svg_text(figure)


def adaptation_scalars(result: AdaptationResult, *, narrow: bool = False) -> str | None:
    """What the first seed's run logged over its steps, one small panel a theme; the kept step as a dotted line.

    The band of a healthy domain accuracy is shaded. Only what was logged is drawn.

    Returns:
        The picture, or None where nothing to draw was logged.

    Example:
        >>> adaptation_scalars(adaptation.results[1]).startswith("<svg")
        True
    """
    panels = _logged_panels(result.log)
    if not panels:
        return None
    columns = 1 if narrow else min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = canvas(2.9 * rows, narrow=narrow)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (title, names) in zip(grid, panels.items(), strict=False):
        axes.set_title(title, fontsize=11)
        if title == "Domain accuracy":
            axes.axhspan(*_HEALTHY_DOMAIN_ACCURACY, color=COLOURS[2], alpha=0.15, linewidth=0, gid="healthy-band")
            axes.set_ylim(0, 1.02)
        for index, (name, label) in enumerate(names.items()):
            points = [(entry["step"], entry[name]) for entry in result.log if name in entry]
            style = {"color": COLOURS[index % len(COLOURS)], "linewidth": 1.6, "gid": f"scalar-{name}"}
            axes.plot(
                *zip(*points, strict=True), marker="o" if len(points) == 1 else None, label=legend_label(label), **style
            )
        if result.kept_steps:
            axes.axvline(result.kept_steps[0], color=_SOFT, linestyle=":", linewidth=1.4)
        if len(names) > 1:
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2 if narrow else 3, fontsize=8, frameon=False
            )
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel("step (dotted: the weights that were kept)" if result.kept_steps else "step", fontsize=10)
    return svg_text(figure)


def _logged_panels(log: Sequence[Mapping[str, float]]) -> dict[str, dict[str, str]]:
    logged = {name: None for entry in log for name in entry}  # in the order of the log
    losses = {name: name.replace("_", " ") for name in logged if name.endswith("loss")}
    panels = {"Losses": losses}
    for title, names in _WATCHED.items():
        panels[title] = {name: label for name, label in names.items() if name in logged}
    return {title: names for title, names in panels.items() if names}


def _dots(axes: Axes, points: np.ndarray, colour: str, *, filled: bool, gid: str) -> None:
    """Draws ``points`` (rows, 2); hollow ones have a rim alone."""
    axes.plot(
        points[:, 0], points[:, 1], linestyle="none", marker="o" if filled else "s", markersize=4, alpha=0.7,
        markerfacecolor=colour if filled else "none", markeredgecolor="none" if filled else colour, gid=gid,
    )  # fmt: skip


def _feature_legends(figure: Figure, class_names: Sequence[str], colours: Sequence[str], *, columns: int) -> None:
    """Below all panels: domains, what filled and hollow mean, and the classes where they are few enough."""
    from matplotlib.lines import Line2D

    marker: dict[str, Any] = {"linestyle": "none", "markersize": 7}
    handles = [
        Line2D([], [], marker="o", color=_DOMAIN_COLOURS["source"], label="source", **marker),
        Line2D([], [], marker="o", color=_DOMAIN_COLOURS["target"], label="target", **marker),
        Line2D([], [], marker="s", markerfacecolor="none", color=_SOFT, label="by class: source", **marker),
        Line2D([], [], marker="o", color=_SOFT, label="by class: target", **marker),
    ]
    if class_names:
        named = [Line2D([], [], marker="o", color=colour, **marker) for colour in colours]
        labels = [short(name) for name in class_names]
        figure.legend(named, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    figure.legend(handles=handles, loc="outside upper center", ncols=4 if columns > 3 else 2, fontsize=9, frameon=False)
