"""How figures read in pages and cards: the filters of both kinds of templates."""

from __future__ import annotations

from hf_transfer_kit.reports.layer_rows import rate_text


def percent_text(value: float, digits: int = 1) -> str:
    """``"84.2 %"`` of a share in [0, 1]."""
    return f"{100 * value:.{digits}f} %"


def interval_text(interval: tuple[float, float] | None) -> str:
    """``" (79.9 to 88.1)"`` in per cent, for ends in [0, 1]; nothing where there is no interval."""
    return f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""


def energy_text(watt_hours: float) -> str:
    """Of a count of the processor's packages, in watt hours, and what the count leaves out."""
    return (
        f"about {watt_hours:.3g} Wh in the processor's packages, counted by the machine, other work on it included; "
        "memory, accelerators and cooling are not counted"
    )


FILTERS = {
    "energy": energy_text,
    "interval": interval_text,
    "percent": percent_text,
    "rate": rate_text,
    "thousands": "{:,}".format,
}
