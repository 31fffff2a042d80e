"""What learns, and how fast, follows from the gradients of the new task (Lee et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import GradientRates, SurgicalTuning
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class Surgical(Strategy):
    """The head alone first, then it and the layer groups at which the loss pulls hardest; the rest stays frozen.

    Args:
        head_fraction: Share of training, in (0, 1), for the head alone.
        blocks: How many layer groups are chosen.
    """

    name: ClassVar[str] = "surgical"
    summary: ClassVar[str] = "The head, then the layers with the largest relative gradient too, the rest frozen."

    head_fraction: float = 0.3
    blocks: int = 1

    def validate(self, groups: LayerGroups) -> None:
        self._tuning().check_model(groups)

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        return [self._tuning()]

    def _tuning(self) -> SurgicalTuning:
        return SurgicalTuning(head_fraction=self.head_fraction, blocks=self.blocks, quiet=True)


@dataclass(frozen=True)
class AutoRGN(Strategy):
    """Each layer group learns at a rate in proportion to its relative gradient norm.

    Args:
        memory: Over about how many steps the norms are averaged.
    """

    name: ClassVar[str] = "auto_rgn"
    summary: ClassVar[str] = "The whole network fine-tuned, each layer at a rate by its relative gradient."
    begins_with: ClassVar[str] = PROBE

    memory: float = 10

    def validate(self, groups: LayerGroups) -> None:
        self.callbacks(None)

    def callbacks(self, model: PreTrainedModel | None) -> list[TrainerCallback]:
        return [GradientRates(memory=self.memory)]
