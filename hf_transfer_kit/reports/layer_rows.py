"""The layer groups of a saved model as a report tells them: size, what was trained, at which rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from hf_transfer_kit.backbones import layer_groups


def layer_rows(model: nn.Module, rates: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Rows of ``LayerGroups.rows()`` with ``learning_rate``: the highest that any weight of the group learned with.

    Args:
        model: As it is saved.
        rates: Parameter's name in this model -> highest rate, as ``LearnedRates`` notes it. Without any the rows have
            no ``learning_rate``: it is not known.

    Returns:
        One dict a group, input to output; a rate of 0.0 means that nothing of the group learned.
    """
    groups = layer_groups(model)
    rows = groups.rows()
    if not rates:
        return rows
    return [
        {**row, "learning_rate": max((rates.get(name, 0.0) for name in group.parameters), default=0.0)}
        for row, group in zip(rows, groups, strict=True)
    ]


def rate_text(row: Mapping[str, Any]) -> str:
    """The rate of a row for people: ``"0.0005"``, ``"frozen"``, or a dash where it is not known."""
    if "learning_rate" not in row:
        return "\N{EN DASH}"
    return f"{row['learning_rate']:.3g}" if row["learning_rate"] else "frozen"
