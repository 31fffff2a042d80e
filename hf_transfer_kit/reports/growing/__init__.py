"""Old and new classes of a network that grew."""

from hf_transfer_kit.reports.growing.report import growing_table

__all__ = [
    "growing_table",
]
