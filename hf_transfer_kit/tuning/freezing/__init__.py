"""Which weights may move, and when."""

from hf_transfer_kit.tuning.freezing.freeze_layers import FreezeLayers
from hf_transfer_kit.tuning.freezing.freeze_schedule import FreezeSchedule
from hf_transfer_kit.tuning.freezing.gradual_unfreezing import GradualUnfreezing
from hf_transfer_kit.tuning.freezing.surgical import SurgicalTuning

__all__ = ["FreezeLayers", "FreezeSchedule", "GradualUnfreezing", "SurgicalTuning"]
