"""Methods for a target without labels, under one budget, chosen without its labels."""

from hf_transfer_kit.selection.adapting.comparing import SELECT, AdaptationComparison, compare_adaptations
from hf_transfer_kit.selection.adapting.keeping import KeepBest
from hf_transfer_kit.selection.adapting.methods import LAST, METHODS, AdaptationMethod, make_method
from hf_transfer_kit.selection.adapting.running import AdaptationRun, Domains, run_adaptation

__all__ = [
    "LAST",
    "METHODS",
    "SELECT",
    "AdaptationComparison",
    "AdaptationMethod",
    "AdaptationRun",
    "Domains",
    "KeepBest",
    "compare_adaptations",
    "make_method",
    "run_adaptation",
]
