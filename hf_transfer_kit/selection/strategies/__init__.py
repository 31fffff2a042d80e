"""The ways to transfer, one file each. A new one is a file and a line in ``STRATEGIES``."""

from hf_transfer_kit.selection.strategies.freeze_first import FreezeFirst
from hf_transfer_kit.selection.strategies.from_scratch import FromScratch
from hf_transfer_kit.selection.strategies.full import Full
from hf_transfer_kit.selection.strategies.head_only import HeadOnly
from hf_transfer_kit.selection.strategies.small_lr import SmallRate
from hf_transfer_kit.selection.strategies.strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy for strategy in (HeadOnly, FreezeFirst, Full, SmallRate, FromScratch)
}

__all__ = ["STRATEGIES", "Strategy"]
