"""What a network that grew adds to pages."""

from hf_transfer_kit.reports.section import Section

SECTION = Section(name="growing", order=20, find=lambda report: report.growing)
