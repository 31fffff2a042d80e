"""How far weights may move."""

from hf_transfer_kit.tuning.freezing import FreezeLayers
from hf_transfer_kit.tuning.interpolation import WeightInterpolation
from hf_transfer_kit.tuning.l2sp import L2SP
from hf_transfer_kit.tuning.l2sp_fisher import L2SPFisher
from hf_transfer_kit.tuning.rates import layerwise_optimizer

__all__ = ["L2SP", "FreezeLayers", "L2SPFisher", "WeightInterpolation", "layerwise_optimizer"]
