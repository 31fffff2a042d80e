"""Everything learns, the old head too: target classes are explained by source classes (You et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import CoTuning
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class SourceClasses(Strategy):
    """Co-Tuning: the pretrained head goes on learning, from the relationship of source and target classes.

    Args:
        alpha: Weight >= 0 of the old head's loss.
        source: The pretrained classifier; default: the checkpoint the model came from.
    """

    name: ClassVar[str] = "co_tuning"
    summary: ClassVar[str] = "The whole network fine-tuned, its old head taught with the new one."
    begins_with: ClassVar[str] = PROBE
    needs_classes: ClassVar[str] = "relates the classes of the source to those of the target"

    alpha: float = 1.0
    source: str | None = None

    def validate(self, groups: LayerGroups) -> None:
        CoTuning(alpha=self.alpha, source=self.source or "pretrained")

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        return [CoTuning(alpha=self.alpha, source=self.source or model.name_or_path)]
