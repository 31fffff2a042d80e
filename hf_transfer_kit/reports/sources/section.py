"""What other pretrained networks add to pages."""

from hf_transfer_kit.reports.race.words import winner_of
from hf_transfer_kit.reports.section import Section

SECTION = Section(
    name="sources",
    order=30,
    find=lambda report: report.other_sources,
    table=lambda report, found: "\n".join(source.verdict.sentence for source in found),
    words=lambda report, found: {"winner": winner_of(report)},
)
