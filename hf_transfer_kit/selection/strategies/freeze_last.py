"""The layers next to the head keep what they know, the rest learns: for speech, where the input differs most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.selection.strategies.freeze_first import AUTO, check_depth, check_found, half_of
from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import FreezeLayers
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class FreezeLast(Strategy):
    """The last k layer groups before the head are frozen; the head and those nearest the input learn.

    Args:
        k: Number of groups, 1 to the number before the head, by default half of them; ``"auto"`` has
            ``search_freeze_depth`` find it.
    """

    name: ClassVar[str] = "freeze_last"
    summary: ClassVar[str] = "The layers next to the head frozen, those nearest the input fine-tuned."
    begins_with: ClassVar[str] = PROBE

    k: int | str | None = None

    @property
    def searched(self) -> str | None:
        return "last" if self.k == AUTO else None

    def validate(self, groups: LayerGroups) -> None:
        check_depth(self, groups)

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        check_found(self)
        return [FreezeLayers(last=cast(int, self.k) or half_of(layer_groups(model)), quiet=True)]
