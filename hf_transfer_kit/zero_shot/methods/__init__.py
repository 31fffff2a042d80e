"""Methods of zero-shot learning, one idea a file. A new one is a file and a line in ``METHODS``."""

from hf_transfer_kit.zero_shot.methods.attribute_prediction import DAP, IAP
from hf_transfer_kit.zero_shot.methods.eszsl import ESZSL
from hf_transfer_kit.zero_shot.methods.method import ZeroShotMethod
from hf_transfer_kit.zero_shot.methods.prototype import Prototype
from hf_transfer_kit.zero_shot.methods.ranking import ALE, DeViSE
from hf_transfer_kit.zero_shot.methods.sae import SAE

METHODS: dict[str, type[ZeroShotMethod]] = {
    method.name: method for method in (DAP, IAP, ESZSL, SAE, ALE, DeViSE, Prototype)
}

__all__ = ["METHODS", "ZeroShotMethod"]
