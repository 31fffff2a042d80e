"""The head first, then one layer group after the other, from the head to the input (Howard & Ruder 2018, ULMFiT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import GradualUnfreezing
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class Gradual(Strategy):
    """Layer groups thaw one by one, at equal distances.

    Args:
        until: Share of training, in (0, 1), after which everything is thawed.
        keep_frozen: Groups nearest the input that never thaw.
    """

    name: ClassVar[str] = "gradual"
    summary: ClassVar[str] = "The head first, then layer after layer down to the input."
    begins_with: ClassVar[str] = PROBE

    until: float = 0.5
    keep_frozen: int = 0

    def validate(self, groups: LayerGroups) -> None:
        if not 0 < self.until < 1:
            raise SettingsError(f"gradual:until={self.until} is outside (0, 1): it is a share of training.")
        self._callback(len(groups.body)).check_model(groups)

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        return [self._callback(len(layer_groups(model).body))]

    def _callback(self, body: int) -> GradualUnfreezing:
        every = self.until / max(body - self.keep_frozen, 1)
        return GradualUnfreezing(every=every, keep_frozen=self.keep_frozen, quiet=True)
