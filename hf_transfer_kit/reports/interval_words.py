"""An interval behind its figure, for people."""

from __future__ import annotations


def interval_text(interval: tuple[float, float] | None) -> str:
    """``" (79.9 to 88.1)"`` in per cent, for ends in [0, 1]; nothing where there is no interval."""
    return f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""
