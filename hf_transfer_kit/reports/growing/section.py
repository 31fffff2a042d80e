"""What a network that grew adds to pages."""

from hf_transfer_kit.reports.growing.report import growing_table
from hf_transfer_kit.reports.section import Section

SECTION = Section(
    name="growing",
    order=20,
    find=lambda report: report.growing,
    table=lambda report, found: growing_table(found),
)
