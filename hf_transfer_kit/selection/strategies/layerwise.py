"""Rates that fall layer by layer towards the input, or towards the head (Clark et al. 2020; Howard & Ruder 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import layerwise_optimizer
from hf_transfer_kit.tuning.rates import rate_factors
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class Layerwise(Strategy):
    """Each layer group learns at ``decay`` times the rate of the next one.

    Args:
        decay: In (0, 1].
        head_rate: Factor on the head's rate, above 0.
        towards: The end that learns least: ``"input"``, or ``"head"`` for its mirror image.
    """

    name: ClassVar[str] = "layerwise"
    summary: ClassVar[str] = "The whole network fine-tuned at rates that fall layer by layer."
    begins_with: ClassVar[str] = PROBE

    decay: float = 0.75
    head_rate: float = 1.0
    towards: str = "input"

    def validate(self, groups: LayerGroups) -> None:
        if self.head_rate <= 0:
            raise SettingsError(f"layerwise:head_rate={self.head_rate} must be above 0: it multiplies the head's rate.")
        rate_factors(len(groups.body), decay=self.decay, towards=self.towards)

    def optimizer(
        self, model: PreTrainedModel, args: TrainingArguments
    ) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
        return layerwise_optimizer(model, args, decay=self.decay, towards=self.towards, head=self.head_rate)
