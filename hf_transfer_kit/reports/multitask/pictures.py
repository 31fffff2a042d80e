"""Pictures of several tasks on one trunk, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.reports.multitask.words import alone
from hf_transfer_kit.reports.pictures import COLOURS, MUTED, empty_figure, legend_label, short, svg_text
from hf_transfer_kit.values import MultiTasking, MultiTaskResult, TaskDescription

_INK = "#1c2733"
_STYLES = ("-", "--", ":", "-.")


def gain_bars(found: MultiTasking, result: MultiTaskResult) -> str | None:
    """Relative gain of each task over itself alone in %, one dot a seed; None where no task was trained alone."""
    single = alone(found)
    if single is None:
        return None
    figure = empty_figure(9, 0.5 * len(found.tasks) + 1.1)
    axes = figure.subplots()
    for row, task in enumerate(found.tasks):
        sign = 1 if task.larger_is_better else -1
        together, apart = (np.array(each.figures[task.name].by_seed) for each in (result, single))
        gains = 100 * sign * (together - apart) / np.maximum(np.abs(apart), 1e-9)  # (seeds,)
        mean = float(gains.mean())
        axes.barh(row, mean, color=COLOURS[0] if mean >= 0 else COLOURS[1], edgecolor="white", gid=f"gain-{task.name}")
        offsets = np.linspace(-0.22, 0.22, len(gains)) if len(gains) > 1 else np.zeros(1)
        axes.plot(
            gains, row + offsets, linestyle="none", marker="o", markersize=4.5, color=_INK, markeredgecolor="white",
            gid=f"gain-seeds-{task.name}",
        )  # fmt: skip
        axes.annotate(f"{mean:+.1f} %", (0, row), (1.01, row), ("axes fraction", "data"), va="center", fontsize=10)
    axes.axvline(0, color=_INK, linewidth=1)
    axes.margins(x=0.08)
    axes.set(xlabel="gain over the task alone, in % of its test metric; dots: seeds")
    axes.set_yticks(range(len(found.tasks)), [short(f"{task.name} ({task.metric})", 34) for task in found.tasks])
    axes.invert_yaxis()
    return svg_text(figure)


def affinity_picture(matrix: Sequence[Sequence[float | None]], tasks: Sequence[TaskDescription]) -> str:
    """Mean cosines of the tasks' gradients: blue agrees, orange conflicts; a dash where two never met."""
    values = np.array([[np.nan if entry is None else entry for entry in row] for row in matrix], dtype=float)
    off = values[~np.eye(len(values), dtype=bool)]
    reach = max(0.1, float(np.nanmax(np.abs(off)))) if np.isfinite(off).any() else 1.0
    side = 2.4 + 0.75 * len(tasks)
    figure = empty_figure(side + 0.6, side)
    axes = figure.subplots()
    drawn = np.where(np.eye(len(values), dtype=bool), np.nan, values)  # with itself every task agrees
    axes.imshow(drawn, cmap="PuOr", vmin=-reach, vmax=reach)
    names = [short(task.name) for task in tasks]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    for row, column in np.ndindex(*values.shape):
        entry = values[row, column]
        text = "" if row == column else "\N{EN DASH}" if np.isnan(entry) else f"{entry:+.2f}"
        dark = row != column and abs(entry) > 0.6 * reach
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=10)
    return svg_text(figure)


def task_losses_picture(result: MultiTaskResult, tasks: Sequence[TaskDescription]) -> str | None:
    """Each task's loss, and its weight where weights change, over the steps of the first seed's run; None without."""
    panels = {}
    for prefix, title in (("loss", "Loss of each task"), ("weight", "Weight of each task")):
        lines = {
            task.name: [(entry["step"], entry[f"{prefix}_{task.name}"]) for entry in result.log
                        if f"{prefix}_{task.name}" in entry]
            for task in tasks
        }  # fmt: skip
        lines = {name: points for name, points in lines.items() if points}
        constant = prefix == "weight" and all(len({value for _, value in points}) == 1 for points in lines.values())
        if lines and not constant:
            panels[title] = lines
    if not panels:
        return None
    figure = empty_figure(9, 3.2)
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for index, (name, points) in enumerate(lines.items()):
            style = {"color": COLOURS[index % len(COLOURS)], "linestyle": _STYLES[index // len(COLOURS) % len(_STYLES)]}
            axes.plot(*zip(*points, strict=True), label=legend_label(name, 18), linewidth=1.6, **style)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=9, frameon=False)
    return svg_text(figure)


def sharing_curve(found: MultiTasking) -> str | None:
    """Test metric of each task by the number of first layer groups that inputs have for themselves.

    Dashed: the task alone. None unless methods that differ in this number alone were run.
    """
    results = sharing_results(found)
    if not results:
        return None
    single = alone(found)
    figure = empty_figure(9, 3.4)
    panels = figure.subplots(1, len(found.tasks), squeeze=False)[0]
    for index, (axes, task) in enumerate(zip(panels, found.tasks, strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        depths = [result.shared_from for result in results]
        figures = [result.figures[task.name] for result in results]
        axes.errorbar(
            depths, [f.test for f in figures], yerr=[f.spread for f in figures], color=colour, marker="o", capsize=3,
            gid=f"sharing-{task.name}",
        )  # fmt: skip
        if single is not None:
            axes.axhline(single.figures[task.name].test, color=MUTED, linestyle="--", linewidth=1.4)
        axes.set_title(short(f"{task.name} ({task.metric})", 30), fontsize=11)
        axes.set_xticks(depths)
    figure.supxlabel("first layer groups that each input has for itself (dashed: the task alone)", fontsize=10)
    return svg_text(figure)


def sharing_results(found: MultiTasking) -> list[MultiTaskResult]:
    """Results that differ in ``shared_from`` alone, in its order; none where fewer than two."""
    by_kind: dict[str, list[MultiTaskResult]] = {}
    for result in found.results:
        name, _, options = result.method.partition(":")
        rest = [option for option in options.split(",") if option and not option.startswith("shared_from=")]
        if name != "single":
            by_kind.setdefault(f"{name}:{rest}", []).append(result)
    longest = max(by_kind.values(), key=len, default=[])
    return sorted(longest, key=lambda result: result.shared_from) if len(longest) > 1 else []
