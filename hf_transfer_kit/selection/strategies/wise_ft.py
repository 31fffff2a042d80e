"""Everything learns, then the best point between pretrained and fine-tuned weights is taken (Wortsman et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import WeightInterpolation
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class Interpolated(Strategy):
    """WiSE-FT: fine-tuned, then interpolated with the pretrained weights; the point is chosen on validation.

    A head that was solved goes along, for then the path begins at a classifier.

    Args:
        points: How many equally spaced points of the path are tried, both ends included, at least 2.
    """

    name: ClassVar[str] = "wise_ft"
    summary: ClassVar[str] = "The whole network fine-tuned, then averaged with the pretrained weights."
    begins_with: ClassVar[str] = PROBE
    needs_classes: ClassVar[str] = "chooses its point by accuracy"

    points: int = 11

    def validate(self, groups: LayerGroups) -> None:
        if isinstance(self.points, bool) or not isinstance(self.points, int) or self.points < 2:
            raise SettingsError(f"wise_ft:points={self.points} must be a whole number, at least 2.")

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        return [
            WeightInterpolation([index / (self.points - 1) for index in range(self.points)], head=self.begins_solved)
        ]
