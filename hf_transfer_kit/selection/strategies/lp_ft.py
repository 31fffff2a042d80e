"""Linear probing, then fine-tuning: a fresh head distorts pretrained features less once it fits them (LP-FT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import FreezeSchedule
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class LinearProbeThenFineTune(Strategy):
    """The head alone first, then everything at a smaller rate (Kumar et al. 2022).

    A head that was solved is a linear probe already: everything learns from the beginning, at the smaller rate.

    Args:
        head_fraction: Share of training, in (0, 1), for the head alone.
        full_rate: Factor in (0, 1] on the rate afterwards.
    """

    name: ClassVar[str] = "lp_ft"
    summary: ClassVar[str] = "The head alone first, then everything at a smaller rate."
    begins_with: ClassVar[str] = PROBE
    rate_kind: ClassVar[str] = "head"

    head_fraction: float = 0.3
    full_rate: float = 0.1

    def validate(self, groups: LayerGroups) -> None:
        for name, value in (("head_fraction", self.head_fraction), ("full_rate", self.full_rate)):
            if not 0 < value <= 1 or (name == "head_fraction" and value == 1):
                raise SettingsError(f"lp_ft:{name}={value} is out of range: give a share between 0 and 1.")
        cast(FreezeSchedule, self.callbacks(None)[0]).check_model(groups)

    def callbacks(self, model: PreTrainedModel | None) -> list[TrainerCallback]:
        if self.begins_solved:
            return [FreezeSchedule([{"train": "all", "rates": {"all": self.full_rate}}], quiet=True)]
        return [FreezeSchedule.lp_ft(head_fraction=self.head_fraction, full_rate=self.full_rate, quiet=True)]
