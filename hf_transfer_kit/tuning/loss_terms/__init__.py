"""Terms beside the loss of an untouched model: on what its layers see, and on what the pretrained network says."""

from hf_transfer_kit.tuning.loss_terms.bss import BSS
from hf_transfer_kit.tuning.loss_terms.co_tuning import CoTuning
from hf_transfer_kit.tuning.loss_terms.delta import DELTA
from hf_transfer_kit.tuning.loss_terms.lwf import LwF

__all__ = ["BSS", "DELTA", "CoTuning", "LwF"]
