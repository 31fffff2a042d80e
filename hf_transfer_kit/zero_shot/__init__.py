"""Classes never seen, named by their attributes."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.zero_shot.choosing import Choice, choose_options, spread_of
    from hf_transfer_kit.zero_shot.configuration import ZeroShotConfig
    from hf_transfer_kit.zero_shot.descriptions import described_classes, prompted_classes
    from hf_transfer_kit.zero_shot.digit_strokes import digit_strokes
    from hf_transfer_kit.zero_shot.explaining import Explanation, Voice
    from hf_transfer_kit.zero_shot.lookup import look_up
    from hf_transfer_kit.zero_shot.methods import (
        JOINT_METHODS,
        METHODS,
        SINGLE_METHODS,
        ZeroShotMethod,
        fitted_method,
    )
    from hf_transfer_kit.zero_shot.modeling import ZeroShotModel
    from hf_transfer_kit.zero_shot.protocol import HoldOut, hold_out, random_hold_outs
    from hf_transfer_kit.zero_shot.table import AttributeTable

__all__ = [
    "JOINT_METHODS",
    "METHODS",
    "SINGLE_METHODS",
    "AttributeTable",
    "Choice",
    "Explanation",
    "HoldOut",
    "Voice",
    "ZeroShotConfig",
    "ZeroShotMethod",
    "ZeroShotModel",
    "choose_options",
    "described_classes",
    "digit_strokes",
    "fitted_method",
    "hold_out",
    "look_up",
    "prompted_classes",
    "random_hold_outs",
    "spread_of",
]

load_when_used(__name__, at_once=["modeling"])
