"""What a comparison of ways to name classes never seen adds to pages and cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hf_transfer_kit.reports.pictures import confusion_picture
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import CardPart, CardPicture, Evaluation, Section, Usage
from hf_transfer_kit.reports.zero_shot.pictures import attribute_bars, seen_unseen_picture, table_picture, unseen_bars
from hf_transfer_kit.reports.zero_shot.report import zero_shot_table
from hf_transfer_kit.reports.zero_shot.words import zero_shot_words
from hf_transfer_kit.values import UnseenClasses

_STATED = ("unseen_accuracy", "harmonic_mean")


def _pictures(report: TransferReport, found: UnseenClasses, narrow: bool) -> Mapping[str, str | None]:
    return {
        "bars": unseen_bars(found, narrow=narrow),
        "curve": seen_unseen_picture(found, narrow=narrow),
        "table": table_picture(found, narrow=narrow) if found.attributes else None,
        "attributes": attribute_bars(found, narrow=narrow) if found.attribute_figures else None,
        "confusion": confusion_picture(found.confusion, narrow=narrow) if found.confusion else None,
    }


def _results(report: TransferReport, found: UnseenClasses) -> Iterable[Evaluation]:
    task = f"zero-shot-{report.data['modality']}-classification"
    for name, value in report.metrics.items():
        if name in _STATED:
            yield Evaluation(task, report.dataset_name, name, value)


def _usage(found: UnseenClasses, asked: str) -> Usage:
    return Usage(
        "hf_transfer_kit.zero_shot",
        (
            "print(model.table.attributes)",
            "row = dict.fromkeys(model.table.attributes, 0.0) | {model.table.attributes[0]: 1.0}",
            'model.set_classes({"a new class": row})',
            "print(model.config.id2label)",
        ),
    )


SECTION = Section(
    name="zero_shot",
    order=80,
    find=lambda report: report.zero_shot,
    table=lambda report, found: zero_shot_table(found),
    words=lambda report, found: zero_shot_words(found),
    pictures=_pictures,
    repeated="split",
    leaves_model=True,
    card=CardPart(
        template="zero_shot/card.md.jinja",
        tag="zero-shot",
        pictures=lambda report, found: {
            "curve": CardPicture(seen_unseen_picture(found), "Accuracy of unseen classes against that of seen ones")
        },
        results=_results,
        pipeline=False,
        usage=_usage,
    ),
)
