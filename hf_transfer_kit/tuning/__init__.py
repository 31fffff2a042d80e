"""How far weights may move."""

from hf_transfer_kit.tuning.bss import BSS
from hf_transfer_kit.tuning.delta import DELTA
from hf_transfer_kit.tuning.freezing import FreezeLayers
from hf_transfer_kit.tuning.rates import layerwise_optimizer

__all__ = ["BSS", "DELTA", "FreezeLayers", "layerwise_optimizer"]
