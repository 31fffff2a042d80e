"""Several labelled sources at once, for a domain that is never seen."""

from hf_transfer_kit.adaptation.generalisation.averaging import SWAD
from hf_transfer_kit.adaptation.generalisation.configuration import SeveralSourcesConfig
from hf_transfer_kit.adaptation.generalisation.flat_region import flat_region
from hf_transfer_kit.adaptation.generalisation.modeling import SeveralSourcesModel
from hf_transfer_kit.adaptation.generalisation.objectives import SOURCES_OBJECTIVES, SourcesBatch, SourcesObjective
from hf_transfer_kit.adaptation.generalisation.reestimation import reestimate_on_sources
from hf_transfer_kit.adaptation.generalisation.several_sources import (
    ReshuffleSources,
    SeveralSources,
    SourcesCollator,
)

__all__ = [
    "SOURCES_OBJECTIVES",
    "SWAD",
    "ReshuffleSources",
    "SeveralSources",
    "SeveralSourcesConfig",
    "SeveralSourcesModel",
    "SourcesBatch",
    "SourcesCollator",
    "SourcesObjective",
    "flat_region",
    "reestimate_on_sources",
]
