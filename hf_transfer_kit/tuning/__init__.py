"""How far weights may move."""

from hf_transfer_kit.tuning.bss import BSS
from hf_transfer_kit.tuning.co_tuning import CoTuning
from hf_transfer_kit.tuning.delta import DELTA
from hf_transfer_kit.tuning.freezing import FreezeLayers
from hf_transfer_kit.tuning.lwf import LwF
from hf_transfer_kit.tuning.rate_finder import find_learning_rate
from hf_transfer_kit.tuning.rates import layerwise_optimizer

__all__ = ["BSS", "DELTA", "CoTuning", "FreezeLayers", "LwF", "find_learning_rate", "layerwise_optimizer"]
