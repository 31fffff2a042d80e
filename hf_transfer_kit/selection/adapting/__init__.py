"""Methods for a target without labels, under one budget, chosen without its labels."""

from hf_transfer_kit.selection.adapting.checkpoint_selection import KeepBest
from hf_transfer_kit.selection.adapting.comparing import AdaptationComparison, compare_adaptations
from hf_transfer_kit.selection.adapting.methods import (
    LAST,
    METHODS,
    SELECT,
    SOURCE_FREE_METHODS,
    AdaptationMethod,
    make_method,
)
from hf_transfer_kit.selection.adapting.open_target import (
    find_rejection,
    held_out_classes,
    judged,
    open_domains,
)
from hf_transfer_kit.selection.adapting.running import AdaptationRun, Domains, run_adaptation
from hf_transfer_kit.selection.adapting.source_free import TargetAlone, checked_source_free, compare_source_free

__all__ = [
    "LAST",
    "METHODS",
    "SELECT",
    "SOURCE_FREE_METHODS",
    "AdaptationComparison",
    "AdaptationMethod",
    "AdaptationRun",
    "Domains",
    "KeepBest",
    "TargetAlone",
    "checked_source_free",
    "compare_adaptations",
    "compare_source_free",
    "find_rejection",
    "held_out_classes",
    "judged",
    "make_method",
    "open_domains",
    "run_adaptation",
]
