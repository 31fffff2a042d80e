"""How far weights may move from the pretrained ones."""

from hf_transfer_kit.tuning.conservative.interpolation import WeightInterpolation
from hf_transfer_kit.tuning.conservative.l2sp import L2SP
from hf_transfer_kit.tuning.conservative.l2sp_fisher import L2SPFisher

__all__ = ["L2SP", "L2SPFisher", "WeightInterpolation"]
