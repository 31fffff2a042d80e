"""What advice before training adds to pages."""

from __future__ import annotations

from collections.abc import Mapping

from hf_transfer_kit.reports.advice.pictures import outlook_picture, quadrants_picture, ranking_picture
from hf_transfer_kit.reports.advice.words import advice_sentence
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import Section
from hf_transfer_kit.values import Advice


def _pictures(report: TransferReport, found: Advice, narrow: bool) -> Mapping[str, str | None]:
    return {
        "outlook": outlook_picture(found.recommendation, narrow=narrow),
        "quadrants": quadrants_picture(found, narrow=narrow),
        "ranking": ranking_picture(found.ranking, narrow=narrow) if found.ranking else None,
    }


SECTION = Section(
    name="advice",
    order=90,
    find=lambda report: report.advice,
    table=lambda report, found: advice_sentence(found),
    words=lambda report, found: {"sentence": advice_sentence(found)},
    pictures=_pictures,
)
