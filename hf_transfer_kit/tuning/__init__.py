"""How far weights may move: freezing, learning rates by depth, conservative training, and scalars beside the loss."""

from hf_transfer_kit.tuning.freeze_schedule import FreezeSchedule
from hf_transfer_kit.tuning.freezing import FreezeLayers
from hf_transfer_kit.tuning.gradual_unfreezing import GradualUnfreezing
from hf_transfer_kit.tuning.interpolation import WeightInterpolation
from hf_transfer_kit.tuning.l2sp import L2SP
from hf_transfer_kit.tuning.l2sp_fisher import L2SPFisher
from hf_transfer_kit.tuning.rates import layerwise_optimizer
from hf_transfer_kit.tuning.scalars import LogScalars, ScalarCallback, record_scalars

__all__ = [
    "L2SP",
    "FreezeLayers",
    "FreezeSchedule",
    "GradualUnfreezing",
    "L2SPFisher",
    "LogScalars",
    "ScalarCallback",
    "WeightInterpolation",
    "layerwise_optimizer",
    "record_scalars",
]
