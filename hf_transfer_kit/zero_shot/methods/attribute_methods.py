"""The methods that learn from any description of classes by themselves, by name."""

from __future__ import annotations

from hf_transfer_kit.zero_shot.methods.attribute_prediction import DAP, IAP
from hf_transfer_kit.zero_shot.methods.eszsl import ESZSL
from hf_transfer_kit.zero_shot.methods.method import ZeroShotMethod
from hf_transfer_kit.zero_shot.methods.prototype import Prototype
from hf_transfer_kit.zero_shot.methods.ranking import ALE, DeViSE
from hf_transfer_kit.zero_shot.methods.sae import SAE

SINGLE_METHODS: dict[str, type[ZeroShotMethod]] = {
    method.name: method for method in (DAP, IAP, ESZSL, SAE, ALE, DeViSE, Prototype)
}
"""Methods on attributes that stand by themselves, by name."""
