"""Old and new classes of a network that grew, for the console."""

from __future__ import annotations

from hf_transfer_kit.reports.filters import percent_text
from hf_transfer_kit.values import Growing


def growing_table(found: Growing) -> str:
    """Test accuracy on old classes before and after, on new ones and on all, and what was forgotten, in points.

    Example:
        >>> from hf_transfer_kit.values import Growing
        >>> found = Growing(("cat", "dog"), ("fox",), ("replay",), overall=0.8, new=0.7, before=0.9, after=0.85)
        >>> growing_table(found).split()[:3]
        ['classes', 'number', 'rows']
    """
    lines = [f"{'classes':<10} {'number':>6} {'rows':>6} {'before':>8} {'after':>8} {'forgotten':>10}"]
    rows = [
        ("old", len(found.old_classes), found.old_rows, found.before, found.after, found.forgetting),
        ("new", len(found.new_classes), found.new_rows, None, found.new, None),
        (
            "all",
            len(found.old_classes) + len(found.new_classes),
            found.old_rows + found.new_rows,
            None,
            found.overall,
            None,
        ),
    ]
    for name, classes, count, before, after, lost in rows:
        shown = [percent_text(value) if value is not None else "-" for value in (before, after)]
        points = "-" if lost is None else f"{100 * lost:.1f}"
        lines.append(f"{name:<10} {classes:>6} {count:>6} {shown[0]:>8} {shown[1]:>8} {points:>10}")
    return "\n".join([*lines, found.sentence])
