"""Several labelled sources and a domain never seen: methods chosen by leaving one source out."""

from hf_transfer_kit.selection.generalising.comparing import (
    GeneralisationComparison,
    check_batch_norm,
    checked_generalisation,
    compare_generalisation,
)
from hf_transfer_kit.selection.generalising.methods import (
    METHODS,
    GeneralisationMethod,
    make_generalisation_method,
)
from hf_transfer_kit.selection.generalising.running import GeneralisationRun, Sources, run_generalisation

__all__ = [
    "METHODS",
    "GeneralisationComparison",
    "GeneralisationMethod",
    "GeneralisationRun",
    "Sources",
    "check_batch_norm",
    "checked_generalisation",
    "compare_generalisation",
    "make_generalisation_method",
    "run_generalisation",
]
