"""The network stays as it is, low-rank changes to its layers and a new head learn (Hu et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_number
from hf_transfer_kit.selection.strategies.adapted_models import adapted_parts, with_adapter
from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import FreezeLayers, lora_plus_optimizer
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class LowRank(Strategy):
    """LoRA through peft on the linear layers (without any, the convolutions) of the last layer groups.

    Args:
        r: Rank >= 1.
        alpha: The change is scaled by alpha / r.
        dropout: In [0, 1), in front of the adapters.
        groups: Only this many layer groups, those nearest the head; default: all before the head.
        ratio: LoRA+ (Hayou et al. 2024): the second factor, which begins at zero, learns at so many times the rate;
            at least 1, which is plain LoRA, the paper's start is 16.
    """

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "The network frozen, low-rank changes to its layers and a new head trained."
    begins_with: ClassVar[str] = PROBE
    rate_kind: ClassVar[str] = "scratch"

    r: int = 8
    alpha: float = 16
    dropout: float = 0.0
    groups: int | None = None
    ratio: float = 1.0

    def validate(self, groups: LayerGroups) -> None:
        limit = len(groups.body)
        if not isinstance(self.r, int) or self.r < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise SettingsError(
                f"lora:r={self.r},alpha={self.alpha},dropout={self.dropout} is out of range: r is a whole number of at "
                "least 1, alpha is above 0, dropout in [0, 1)."
            )
        if self.groups is not None and not (isinstance(self.groups, int) and 1 <= self.groups <= limit):
            raise SettingsError(f"lora:groups={self.groups} is out of range: the model has {limit} before the head.")
        check_number("lora", "ratio", self.ratio, low=1)

    def prepare_model(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from peft import LoraConfig

        config = LoraConfig(
            r=self.r,
            lora_alpha=cast(int, self.alpha),  # a factor: peft takes any number
            lora_dropout=self.dropout,
            **adapted_parts(model, self.groups),
        )
        return with_adapter(model, config, seed=seed)

    def optimizer(
        self, model: PreTrainedModel, args: TrainingArguments
    ) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
        return None if self.ratio == 1 else lora_plus_optimizer(model, args, ratio=self.ratio)

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        # peft leaves BatchNorm's statistics free to move, and an adapter's file does not hold them.
        return [FreezeLayers(all_but_head=True, quiet=True)]
