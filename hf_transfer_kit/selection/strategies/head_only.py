"""The network as a fixed feature extractor: only the new head learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.selection.strategies.strategy import PROBE, SOLVED_RATE, Strategy
from hf_transfer_kit.tuning import FreezeLayers, layerwise_optimizer
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class HeadOnly(Strategy):
    """Everything but the head is frozen; a head that was solved goes on at a hundredth of the rate."""

    name: ClassVar[str] = "head_only"
    summary: ClassVar[str] = "A new head on the frozen network."
    begins_with: ClassVar[str] = PROBE
    rate_kind: ClassVar[str] = "head"

    def frozen_prefix(self, groups: LayerGroups) -> int:
        return len(groups.body)

    def optimizer(
        self, model: PreTrainedModel, args: TrainingArguments
    ) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
        return layerwise_optimizer(model, args, head=SOLVED_RATE) if self.begins_solved else None

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        return [FreezeLayers(all_but_head=True, quiet=True)]
