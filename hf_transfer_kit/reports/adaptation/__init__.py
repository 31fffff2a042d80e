"""A target without labels: its report, page, card and pictures."""

from hf_transfer_kit.reports.adaptation.pictures import adaptation_bars, adaptation_scalars, feature_maps_picture
from hf_transfer_kit.reports.adaptation.report import adaptation_report, adaptation_table
from hf_transfer_kit.reports.adaptation.words import adaptation_words, unknown_sentence

__all__ = [
    "adaptation_bars",
    "adaptation_report",
    "adaptation_scalars",
    "adaptation_table",
    "adaptation_words",
    "feature_maps_picture",
    "unknown_sentence",
]
