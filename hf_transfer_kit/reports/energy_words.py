"""Counted energy for people, and what the count leaves out."""

from __future__ import annotations


def energy_text(watt_hours: float) -> str:
    """Of a count of the processor's packages, in watt hours."""
    return (
        f"about {watt_hours:.3g} Wh in the processor's packages, counted by the machine, other work on it included; "
        "memory, accelerators and cooling are not counted"
    )
