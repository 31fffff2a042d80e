"""A network's layers as groups, and its modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from hf_transfer_kit.plain_tables import PlainTable, Tabular

if TYPE_CHECKING:
    from torch import nn

MODALITIES = ("image", "text", "audio")
"""What a network may read."""
_COLUMNS = ("depth", "name", "modules", "parameters", "trainable")


@dataclass(frozen=True, eq=False)
class LayerGroup:
    """The parameters at one depth of a network.

    Args:
        name: Name of the group, for people: usually the common prefix of its modules.
        modules: Qualified name -> module, the topmost modules that belong wholly to this group. Every leaf module of
            the model, with or without parameters (dropout, BatchNorm), lies under exactly one group.
        parameters: Qualified name -> parameter. A tied parameter appears once, in its earliest group.
        is_head: Whether this is the task's head (the part a new task replaces).
    """

    name: str
    modules: Mapping[str, nn.Module]
    parameters: Mapping[str, nn.Parameter]
    is_head: bool = False

    @property
    def num_parameters(self) -> int:
        """Number of scalars in the group."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def num_trainable(self) -> int:
        """Number of scalars whose parameter requires a gradient now."""
        return sum(parameter.numel() for parameter in self.parameters.values() if parameter.requires_grad)


@dataclass(frozen=True, eq=False)
class LayerGroups(Tabular, Sequence[LayerGroup]):
    """Layer groups of one model, input to output, the head (where there is one) last. Printing shows a table."""

    groups: tuple[LayerGroup, ...]

    @overload
    def __getitem__(self, index: int) -> LayerGroup: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[LayerGroup, ...]: ...
    def __getitem__(self, index: int | slice) -> LayerGroup | tuple[LayerGroup, ...]:
        return self.groups[index]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[LayerGroup]:
        return iter(self.groups)

    @property
    def head(self) -> LayerGroup | None:
        """The head's group, or None when the model has none (a bare encoder, tied language-model heads)."""
        return self.groups[-1] if self.groups and self.groups[-1].is_head else None

    @property
    def body(self) -> tuple[LayerGroup, ...]:
        """All groups before the head."""
        return self.groups[:-1] if self.head is not None else self.groups

    def rows(self) -> list[dict[str, Any]]:
        """One plain dict a group: depth, name, modules, parameters, trainable (share in [0, 1]), head."""
        return [
            {
                "depth": depth,
                "name": group.name,
                "modules": list(group.modules),
                "parameters": group.num_parameters,
                "trainable": group.num_trainable / max(group.num_parameters, 1),
                "head": group.is_head,
            }
            for depth, group in enumerate(self.groups)
        ]

    def table(self) -> PlainTable:
        """What is printed."""
        cells = [
            (
                str(row["depth"]),
                str(row["name"]) + (" (head)" if row["head"] else ""),
                _shortened(row["modules"]),
                f"{row['parameters']:,}",
                f"{row['trainable']:.0%}",
            )
            for row in self.rows()
        ]
        total = sum(group.num_parameters for group in self.groups)
        trainable = sum(group.num_trainable for group in self.groups)
        share = f"{total:,} parameters, {trainable:,} trainable ({trainable / max(total, 1):.1%})"
        return PlainTable(_COLUMNS, cells, left=frozenset({1, 2}), after=(share,))


def _shortened(names: Sequence[str], limit: int = 48) -> str:
    text = ", ".join(names)
    return text if len(text) <= limit else text[: limit - 1] + "…"
