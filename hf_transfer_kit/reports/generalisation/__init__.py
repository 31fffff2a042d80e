"""Several sources: their report, page, card and picture."""

from hf_transfer_kit.reports.generalisation.report import generalisation_report, generalisation_table
from hf_transfer_kit.reports.generalisation.words import generalisation_words

__all__ = [
    "generalisation_report",
    "generalisation_table",
    "generalisation_words",
]
