"""The ways to transfer, one file each. A new one is a file and a line in ``STRATEGIES``."""

from hf_transfer_kit.registering import Registry
from hf_transfer_kit.selection.strategies.adapters import OtherAdapter
from hf_transfer_kit.selection.strategies.averaged import EqualAverage, MovingAverage
from hf_transfer_kit.selection.strategies.bss import SpectralShrinkage
from hf_transfer_kit.selection.strategies.co_tuning import SourceClasses
from hf_transfer_kit.selection.strategies.delta import FeatureMapDistance
from hf_transfer_kit.selection.strategies.freeze_first import FreezeFirst
from hf_transfer_kit.selection.strategies.freeze_last import FreezeLast
from hf_transfer_kit.selection.strategies.from_scratch import FromScratch
from hf_transfer_kit.selection.strategies.full import Full
from hf_transfer_kit.selection.strategies.gradual import Gradual
from hf_transfer_kit.selection.strategies.head_only import HeadOnly
from hf_transfer_kit.selection.strategies.l2sp import FisherStartingPoint, StartingPoint
from hf_transfer_kit.selection.strategies.layerwise import Layerwise
from hf_transfer_kit.selection.strategies.lora import LowRank
from hf_transfer_kit.selection.strategies.lp_ft import LinearProbeThenFineTune
from hf_transfer_kit.selection.strategies.small_lr import SmallRate
from hf_transfer_kit.selection.strategies.strategy import Strategy
from hf_transfer_kit.selection.strategies.surgical import AutoRGN, Surgical
from hf_transfer_kit.selection.strategies.text_head import TextHead
from hf_transfer_kit.selection.strategies.wise_ft import Interpolated

STRATEGIES: Registry[Strategy] = Registry(
    "strategy",
    Strategy,
    (
        HeadOnly,
        FreezeFirst,
        FreezeLast,
        Gradual,
        LinearProbeThenFineTune,
        Surgical,
        Layerwise,
        AutoRGN,
        SmallRate,
        Full,
        MovingAverage,
        EqualAverage,
        StartingPoint,
        FisherStartingPoint,
        FeatureMapDistance,
        SpectralShrinkage,
        SourceClasses,
        Interpolated,
        TextHead,
        LowRank,
        OtherAdapter,
        FromScratch,
    ),
)
"""The ways to transfer, by name."""


def register_strategy(strategy: type[Strategy]) -> type[Strategy]:
    """Adds a strategy under its ``name``; a decorator.

    Args:
        strategy: A frozen dataclass, a subclass of Strategy; its fields are the options.

    Returns:
        The class.

    Raises:
        SettingsError: When it is no such class, or its name is no word or another's.

    Example:
        >>> from dataclasses import dataclass
        >>> @register_strategy
        ... @dataclass(frozen=True)
        ... class Plain(Strategy):
        ...     name = "plain"
        ...     summary = "Nothing is added."
        >>> make_strategy("plain")
        Plain()
    """
    return STRATEGIES.register(strategy)


__all__ = ["STRATEGIES", "Strategy", "register_strategy"]
