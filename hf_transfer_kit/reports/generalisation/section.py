"""What a comparison of methods for several sources adds to pages and cards."""

from __future__ import annotations

from collections.abc import Iterable

from hf_transfer_kit.reports.generalisation.pictures import left_out_picture
from hf_transfer_kit.reports.generalisation.report import generalisation_table
from hf_transfer_kit.reports.generalisation.words import generalisation_words
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import CardPart, CardPicture, Evaluation, Section
from hf_transfer_kit.values import Generalisation


def _results(report: TransferReport, found: Generalisation) -> Iterable[Evaluation]:
    task = f"{report.data['modality']}-classification"
    for name in (*found.sources, *filter(None, [found.unseen_name])):
        yield Evaluation(task, name, "accuracy", report.metrics[f"accuracy_on_{name}"])


SECTION = Section(
    name="generalisation",
    order=60,
    find=lambda report: report.generalisation,
    table=lambda report, found: generalisation_table(found),
    words=lambda report, found: generalisation_words(found),
    pictures=lambda report, found, narrow: {"left_out": left_out_picture(found, narrow=narrow)},
    verdicts=lambda found: [result.verdict for result in found.results],
    leaves_model=True,
    card=CardPart(
        template="generalisation/card.md.jinja",
        tag="domain-generalization",
        pictures=lambda report, found: {
            "left_out": CardPicture(
                left_out_picture(found), "Accuracy of each method on each source that was left out of its training"
            )
        },
        results=_results,
        several_datasets=True,
    ),
)
