"""A section: a named stretch of a network before its parameters and modules are collected."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A stretch of the network.

    Args:
        name: For people.
        members: Qualified names of modules or parameters; the longest name that fits decides where a parameter goes.
    """

    name: str
    members: tuple[str, ...]

    def prefixed(self, prefix: str) -> Section:
        """The same section seen from a model that holds this one under ``prefix`` (``""`` or ending in a dot)."""
        return Section(
            self.name, tuple(f"{prefix}{member}" if member else prefix.rstrip(".") for member in self.members)
        )
