"""Everything learns, and the network is the mean of its weights over the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import EMA, SWA
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class MovingAverage(Strategy):
    """Plain fine-tuning whose evaluations and model are of an exponential moving average of the weights.

    Args:
        decay: Share of the average that stays at each step, in [0, 1); less during the first steps.
    """

    name: ClassVar[str] = "ema"
    summary: ClassVar[str] = "The whole network fine-tuned, a moving average of its weights taken."
    begins_with: ClassVar[str] = PROBE

    decay: float = 0.999

    def validate(self, groups: LayerGroups) -> None:
        self.callbacks(None)

    def callbacks(self, model: PreTrainedModel | None) -> list[TrainerCallback]:
        return [EMA(self.decay)]


@dataclass(frozen=True)
class EqualAverage(Strategy):
    """Plain fine-tuning whose model is the equal mean of the weights late in training (Izmailov et al. 2018).

    Args:
        start: Share of training, in [0, 1), before the first weights that count.
        every: Steps between weights that count.
    """

    name: ClassVar[str] = "swa"
    summary: ClassVar[str] = "The whole network fine-tuned, the mean of its late weights taken."

    start: float = 0.5
    every: int = 1

    def validate(self, groups: LayerGroups) -> None:
        self.callbacks(None)

    def callbacks(self, model: PreTrainedModel | None) -> list[TrainerCallback]:
        return [SWA(self.start, every=self.every)]
