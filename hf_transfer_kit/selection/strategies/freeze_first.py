"""The first layers keep what they know, the rest learns (Yosinski et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.strategies.strategy import Strategy
from hf_transfer_kit.tuning import FreezeLayers


@dataclass(frozen=True)
class FreezeFirst(Strategy):
    """The first k layer groups are frozen.

    Args:
        k: Number of groups, 1 to the number before the head; by default half of them.
    """

    name: ClassVar[str] = "freeze_first"
    summary: ClassVar[str] = "The first layers frozen, the rest fine-tuned."

    k: int | None = None

    def validate(self, groups):
        limit = len(groups.body)
        if self.k is not None and not (isinstance(self.k, int) and 1 <= self.k <= limit):
            raise SettingsError(
                f"freeze_first:k={self.k} is out of range: this model has {limit} layer groups before the head "
                f"({', '.join(group.name for group in groups.body)}), so give k from 1 to {limit}."
            )

    def frozen_prefix(self, groups):
        return max(1, round(0.5 * len(groups.body))) if self.k is None else self.k

    def callbacks(self, model):
        choice = {"fraction": 0.5} if self.k is None else {"first": self.k}
        return [FreezeLayers(**choice, quiet=True)]
