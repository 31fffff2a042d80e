"""How figures read in pages and cards: the filters of both kinds of templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_transfer_kit.metrics import words
from hf_transfer_kit.reports.layer_rows import rate_text


def percent_text(value: float, digits: int = 1) -> str:
    """``"84.2 %"`` of a share in [0, 1]."""
    return f"{100 * value:.{digits}f} %"


def interval_text(interval: tuple[float, float] | None, metric: str = "accuracy") -> str:
    """``" (79.9 to 88.1)"`` in per cent, or of a metric that is no fraction as it is; nothing without an interval."""
    if not interval:
        return ""
    low, high = (f"{100 * end:.1f}" if metric in words.FRACTIONS else f"{end:.3f}" for end in interval)
    return f" ({low} to {high})"


def energy_text(watt_hours: float) -> str:
    """Of a count of the processor's packages, in watt hours, and what the count leaves out."""
    return (
        f"about {watt_hours:.3g} Wh in the processor's packages, counted by the machine, other work on it included; "
        "memory, accelerators and cooling are not counted"
    )


def spent_text(budget: Mapping[str, Any]) -> str:
    """Steps and rows of a run, of an open budget at most.

    Example:
        >>> spent_text({"steps": 50, "batch_size": 32}), spent_text({"steps": 900, "batch_size": 32, "patience": 3})
        ('50 steps of 32 rows', 'at most 900 steps of 32 rows')
    """
    at_most = "at most " if {"patience", "max_minutes"} & set(budget) else ""
    return f"{at_most}{budget['steps']} steps of {budget['batch_size']} rows"


FILTERS = {
    "better": words.larger_is_better,
    "metric": words.metric_words,
    "shown": lambda value, metric: words.shown(metric, value),
    "signed": lambda value, metric: words.signed(metric, value),
    "energy": energy_text,
    "interval": interval_text,
    "percent": percent_text,
    "rate": rate_text,
    "spent_text": spent_text,
    "thousands": "{:,}".format,
}
