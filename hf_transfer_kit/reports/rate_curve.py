"""The picture of a learning-rate range test, drawn without touching matplotlib's global state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hf_transfer_kit.reports.pictures import canvas
from hf_transfer_kit.values import RateCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rate_picture(curve: RateCurve) -> Figure:
    """Loss over learning rate on a logarithmic axis, with both suggestions marked."""
    figure = canvas(3.6, narrow=False, width=7)
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color="#9DB4C0", linewidth=1, label="loss of each step")
    axes.plot(curve.rates, curve.smoothed, color="#0072B2", linewidth=2, label="smoothed")
    for rate, name, colour, style in (
        (curve.steepest, "steepest descent", "#D55E00", "--"),
        (curve.tenth_of_minimum, "minimum / 10", "#009E73", ":"),
    ):
        axes.axvline(rate, color=colour, linestyle=style, label=f"{name}: {rate:.1e}")
    low, high = min(curve.losses), curve.smoothed[0]
    # What runs away at the end would flatten the rest.
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(low - margin, high + 4 * margin))
    axes.legend(fontsize=8, frameon=False)
    return figure


def save_rate_picture(curve: RateCurve, path: str | Path) -> None:
    """Writes the picture; the ending of ``path`` decides the format (.png, .svg, .pdf)."""
    rate_picture(curve).savefig(path, dpi=150)
