"""The baseline that tells whether transfer helped: the same architecture with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel

from hf_transfer_kit.backbones import reinitialize
from hf_transfer_kit.selection.strategies.strategy import Strategy


@dataclass(frozen=True)
class FromScratch(Strategy):
    """Only the architecture is kept: all weights are drawn anew."""

    name: ClassVar[str] = "from_scratch"
    summary: ClassVar[str] = "The same architecture with random weights: no transfer."
    pretrained: ClassVar[bool] = False
    rate_kind: ClassVar[str] = "scratch"
    keeps_head: ClassVar[str] = "draws all weights anew, so that there are no features worth a regression"

    def prepare_model(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        reinitialize(model, all=True, seed=seed)
        return model
