"""How far weights may move: freezing, learning rates by depth, conservative training, and scalars beside the loss."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.tuning.adapter_rates import lora_plus_optimizer
    from hf_transfer_kit.tuning.averaging import EMA, SWA, Merged, merge_models
    from hf_transfer_kit.tuning.checkpoints import GuardCheckpoints, check_checkpoint, last_whole_checkpoint
    from hf_transfer_kit.tuning.conservative import L2SP, L2SPFisher, WeightInterpolation
    from hf_transfer_kit.tuning.freezing import FreezeLayers, FreezeSchedule, GradualUnfreezing, SurgicalTuning
    from hf_transfer_kit.tuning.gradient_rates import GradientRates
    from hf_transfer_kit.tuning.learned_rates import LearnedRates, rates_of
    from hf_transfer_kit.tuning.loss_scale import FairLossScale
    from hf_transfer_kit.tuning.loss_terms import BSS, DELTA, CoTuning, LwF
    from hf_transfer_kit.tuning.rate_finder import find_learning_rate
    from hf_transfer_kit.tuning.rates import layerwise_optimizer
    from hf_transfer_kit.tuning.restoring import RestoreWeights
    from hf_transfer_kit.tuning.rounding import RoundWeights
    from hf_transfer_kit.tuning.scalars import LogScalars, ScalarCallback, record_scalars
    from hf_transfer_kit.tuning.shared_batches import SharedBatches

__all__ = [
    "BSS",
    "DELTA",
    "EMA",
    "L2SP",
    "SWA",
    "CoTuning",
    "FairLossScale",
    "FreezeLayers",
    "FreezeSchedule",
    "GradientRates",
    "GradualUnfreezing",
    "GuardCheckpoints",
    "L2SPFisher",
    "LearnedRates",
    "LogScalars",
    "LwF",
    "Merged",
    "RestoreWeights",
    "RoundWeights",
    "ScalarCallback",
    "SharedBatches",
    "SurgicalTuning",
    "WeightInterpolation",
    "check_checkpoint",
    "find_learning_rate",
    "last_whole_checkpoint",
    "layerwise_optimizer",
    "lora_plus_optimizer",
    "merge_models",
    "rates_of",
    "record_scalars",
]

load_when_used(__name__)
