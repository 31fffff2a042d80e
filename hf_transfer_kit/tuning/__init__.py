"""How far weights may move: freezing, learning rates by depth, conservative training, and scalars beside the loss."""

from hf_transfer_kit.tuning.bss import BSS
from hf_transfer_kit.tuning.co_tuning import CoTuning
from hf_transfer_kit.tuning.delta import DELTA
from hf_transfer_kit.tuning.freeze_schedule import FreezeSchedule
from hf_transfer_kit.tuning.freezing import FreezeLayers
from hf_transfer_kit.tuning.gradual_unfreezing import GradualUnfreezing
from hf_transfer_kit.tuning.interpolation import WeightInterpolation
from hf_transfer_kit.tuning.l2sp import L2SP
from hf_transfer_kit.tuning.l2sp_fisher import L2SPFisher
from hf_transfer_kit.tuning.lwf import LwF
from hf_transfer_kit.tuning.rate_finder import find_learning_rate
from hf_transfer_kit.tuning.rates import layerwise_optimizer
from hf_transfer_kit.tuning.restoring import RestoreWeights
from hf_transfer_kit.tuning.scalars import LogScalars, ScalarCallback, record_scalars

__all__ = [
    "BSS",
    "DELTA",
    "L2SP",
    "CoTuning",
    "FreezeLayers",
    "FreezeSchedule",
    "GradualUnfreezing",
    "L2SPFisher",
    "LogScalars",
    "LwF",
    "RestoreWeights",
    "ScalarCallback",
    "WeightInterpolation",
    "find_learning_rate",
    "layerwise_optimizer",
    "record_scalars",
]
