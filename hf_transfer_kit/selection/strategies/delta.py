"""Everything learns, what the layers see is held near what the pretrained network sees (Li et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import DELTA
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class FeatureMapDistance(Strategy):
    """DELTA: the distance of feature maps to the pretrained network's is part of the loss.

    Args:
        alpha: Strength >= 0.
        layers: How many layer groups are compared.
        attention: ``uniform`` or ``loss``: how channels are weighted.
    """

    name: ClassVar[str] = "delta"
    summary: ClassVar[str] = "The whole network fine-tuned, its feature maps held near the pretrained ones."
    begins_with: ClassVar[str] = PROBE

    alpha: float = 1.0
    layers: int = 4
    attention: str = "uniform"

    def validate(self, groups: LayerGroups) -> None:
        self.callbacks(None)

    def check_task(self, task_type: str) -> None:
        if self.attention == "loss" and task_type != "classification":
            raise SettingsError(
                f"delta:attention=loss weighs channels by a classifier's loss; this is a task of {task_type}. Use "
                "attention=uniform."
            )

    def callbacks(self, model: PreTrainedModel | None) -> list[TrainerCallback]:
        return [DELTA(alpha=self.alpha, layers=self.layers, attention=self.attention)]
