"""Everything learns, directions of the features that carry little are made smaller (Chen et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.selection.strategies.strategy import Strategy
from hf_transfer_kit.tuning import BSS
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class SpectralShrinkage(Strategy):
    """Batch spectral shrinkage: the smallest singular values of each batch's features are part of the loss.

    Args:
        alpha: Strength >= 0.
        k: How many singular values.
    """

    name: ClassVar[str] = "bss"
    summary: ClassVar[str] = "The whole network fine-tuned, weak directions of its features shrunk."

    alpha: float = 1e-3
    k: int = 1

    def validate(self, groups: LayerGroups) -> None:
        self.callbacks(None)

    def callbacks(self, model: PreTrainedModel | None) -> list[TrainerCallback]:
        return [BSS(alpha=self.alpha, k=self.k)]
