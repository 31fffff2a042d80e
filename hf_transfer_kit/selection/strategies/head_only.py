"""The network as a fixed feature extractor: only the new head learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.selection.strategies.strategy import Strategy
from hf_transfer_kit.tuning import FreezeLayers
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class HeadOnly(Strategy):
    """Everything but the head is frozen."""

    name: ClassVar[str] = "head_only"
    summary: ClassVar[str] = "A new head on the frozen network."
    rate_kind: ClassVar[str] = "head"

    def frozen_prefix(self, groups: LayerGroups) -> int:
        return len(groups.body)

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        return [FreezeLayers(all_but_head=True, quiet=True)]
