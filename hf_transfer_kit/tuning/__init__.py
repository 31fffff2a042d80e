"""How far weights may move."""

from hf_transfer_kit.tuning.freezing import FreezeLayers
from hf_transfer_kit.tuning.rates import layerwise_optimizer

__all__ = ["FreezeLayers", "layerwise_optimizer"]
