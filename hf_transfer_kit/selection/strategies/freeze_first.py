"""The first layers keep what they know, the rest learns (Yosinski et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy
from hf_transfer_kit.tuning import FreezeLayers
from hf_transfer_kit.tuning.freezing.freeze_layers import frozen_depths
from hf_transfer_kit.values import LayerGroups

AUTO = "auto"


@dataclass(frozen=True)
class FreezeFirst(Strategy):
    """The first k layer groups are frozen.

    Args:
        k: Number of groups, 1 to the number before the head, by default half of them; ``"auto"`` has
            ``search_freeze_depth`` find it.
    """

    name: ClassVar[str] = "freeze_first"
    summary: ClassVar[str] = "The first layers frozen, the rest fine-tuned."
    begins_with: ClassVar[str] = PROBE

    k: int | str | None = None

    @property
    def searched(self) -> str | None:
        return "first" if self.k == AUTO else None

    def validate(self, groups: LayerGroups) -> None:
        check_depth(self, groups)

    def frozen_prefix(self, groups: LayerGroups) -> int:
        return half_of(groups) if self.k is None else cast(int, self.k)

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        check_found(self)
        return [FreezeLayers(first=self.frozen_prefix(layer_groups(model)), quiet=True)]


def half_of(groups: LayerGroups) -> int:
    """How many groups before the head are frozen where no number is given."""
    return len(frozen_depths(groups, "fraction", 0.5, modality=""))


class _OfDepth(Protocol):
    name: ClassVar[str]

    @property
    def k(self) -> int | str | None: ...


def check_depth(strategy: _OfDepth, groups: LayerGroups) -> None:
    """Raises SettingsError when the strategy's ``k`` is no number of groups before the head, None or ``"auto"``."""
    k, limit = strategy.k, len(groups.body)
    fits = isinstance(k, int) and not isinstance(k, bool) and 1 <= k <= limit
    if k not in (None, AUTO) and not fits:
        raise SettingsError(
            f"{strategy.name}:k={k} is out of range: this model has {limit} layer groups before the head "
            f"({', '.join(group.name for group in groups.body)}), so give k from 1 to {limit}, or auto."
        )


def check_found(strategy: _OfDepth) -> None:
    """Raises SettingsError when ``k`` is still ``"auto"``: a run needs a number."""
    if strategy.k == AUTO:
        raise SettingsError(
            f"{strategy.name}:k=auto has no depth yet: find it with search_freeze_depth (compare_strategies and the "
            "scripts do), or give a number."
        )
