"""Weights averaged over the steps of one run, and networks merged."""

from hf_transfer_kit.tuning.averaging.averaged_weights import EMA, SWA
from hf_transfer_kit.tuning.averaging.merging import Merged, merge_models

__all__ = ["EMA", "SWA", "Merged", "merge_models"]
