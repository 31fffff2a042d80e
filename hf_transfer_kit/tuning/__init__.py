"""How far weights may move."""

from hf_transfer_kit.tuning.freeze_schedule import FreezeSchedule
from hf_transfer_kit.tuning.freezing import FreezeLayers
from hf_transfer_kit.tuning.gradual_unfreezing import GradualUnfreezing
from hf_transfer_kit.tuning.rates import layerwise_optimizer

__all__ = ["FreezeLayers", "FreezeSchedule", "GradualUnfreezing", "layerwise_optimizer"]
