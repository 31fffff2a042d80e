"""Weights averaged over the steps of one run."""

from hf_transfer_kit.tuning.averaging.averaged_weights import EMA, SWA

__all__ = ["EMA", "SWA"]
