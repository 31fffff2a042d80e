"""Everything learns, the transferred layers at a small fraction of the head's rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.strategies.strategy import SOLVED_RATE, Strategy
from hf_transfer_kit.tuning import layerwise_optimizer
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class SmallRate(Strategy):
    """All groups before the head learn at ``factor`` times the rate, the head at the rate itself.

    A head that was solved goes on at a hundredth of it.

    Args:
        factor: In (0, 1]; default 0.001.
    """

    name: ClassVar[str] = "small_lr"
    summary: ClassVar[str] = "The whole network trained, all before the head at a small rate."
    rate_kind: ClassVar[str] = "head"

    factor: float = 0.001

    def validate(self, groups: LayerGroups) -> None:
        if not 0 < self.factor <= 1:
            raise SettingsError(f"small_lr:factor={self.factor} is outside (0, 1]: it multiplies the head's rate.")

    def optimizer(
        self, model: PreTrainedModel, args: TrainingArguments
    ) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
        body, head = len(layer_groups(model).body), SOLVED_RATE if self.begins_solved else 1.0
        return layerwise_optimizer(model, args, first_layers=self.factor, num_first=body, head=head)
