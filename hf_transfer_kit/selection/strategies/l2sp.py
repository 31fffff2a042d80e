"""Everything learns, held near the pretrained weights (Li et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import L2SP, L2SPFisher
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class StartingPoint(Strategy):
    """L2-SP: alpha/2 |w - w0|^2 on pretrained weights, beta/2 |w|^2 on the head.

    Args:
        alpha: Strength >= 0 on the pretrained weights.
        beta: Strength >= 0 on the head.
        decoupled: The pull is a step of its own beside the optimizer's, as AdamW's decay is.
    """

    name: ClassVar[str] = "l2sp"
    summary: ClassVar[str] = "The whole network fine-tuned, held near the pretrained weights."
    begins_with: ClassVar[str] = PROBE

    alpha: float = 0.01
    beta: float = 0.01
    decoupled: bool = False

    def validate(self, groups: LayerGroups) -> None:
        self.callbacks(None)

    def callbacks(self, model: PreTrainedModel | None) -> list[TrainerCallback]:
        return [L2SP(self.alpha, self.beta, decoupled=self.decoupled)]


@dataclass(frozen=True)
class FisherStartingPoint(Strategy):
    """L2-SP-Fisher: each weight is held as firmly as the Fisher information says it matters (Kirkpatrick et al. 2017).

    Args:
        alpha: As in ``l2sp``.
        beta: As in ``l2sp``.
        num_samples: Training rows the information is estimated on.
    """

    name: ClassVar[str] = "l2sp_fisher"
    summary: ClassVar[str] = "As l2sp, each weight held as firmly as it matters to the predictions."
    needs_classes: ClassVar[str] = "measures what a weight matters by a classifier's loss"

    alpha: float = 0.01
    beta: float = 0.01
    num_samples: int = 64

    def validate(self, groups: LayerGroups) -> None:
        self.callbacks(None)

    def callbacks(self, model: PreTrainedModel | None) -> list[TrainerCallback]:
        return [L2SPFisher(self.alpha, self.beta, num_samples=self.num_samples)]
