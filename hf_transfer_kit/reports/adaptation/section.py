"""What a comparison of adaptation methods adds to pages and cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_transfer_kit.reports.adaptation.pictures import adaptation_bars, adaptation_scalars, feature_maps_picture
from hf_transfer_kit.reports.adaptation.report import adaptation_table
from hf_transfer_kit.reports.adaptation.words import adaptation_words
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import CardPart, CardPicture, Section
from hf_transfer_kit.values import Adaptation


def _words(report: TransferReport, found: Adaptation) -> Mapping[str, Any]:
    words = adaptation_words(found)
    return {**words, "logged": {name for entry in words["chosen"].log for name in entry}}


def _pictures(report: TransferReport, found: Adaptation, narrow: bool) -> Mapping[str, str | None]:
    return {
        "scalars": adaptation_scalars(found.result(found.chosen), narrow=narrow),
        "bars": adaptation_bars(found, narrow=narrow) if any(result.test for result in found.results) else None,
        "maps": _maps(report, found, narrow=narrow),
    }


def _maps(report: TransferReport, found: Adaptation, *, narrow: bool = False) -> str | None:
    if not found.feature_maps:
        return None
    return feature_maps_picture(found.feature_maps, report.data["classes"], narrow=narrow)


def _card_pictures(report: TransferReport, found: Adaptation) -> Mapping[str, CardPicture]:
    chosen = found.result(found.chosen)
    words = "Features of both domains by t-SNE, coloured by domain and by class, before and after"
    return {
        "run": CardPicture(adaptation_scalars(chosen), f"What the run of {chosen.method} logged over its steps"),
        "features": CardPicture(_maps(report, found), words),
    }


def _source_figures(found: Adaptation) -> Mapping[str, float]:
    """A target without labels has no figures of its own."""
    return {
        f"{result.method}: source_accuracy": result.source_accuracy
        for result in found.results
        if result.source_accuracy is not None
    }


SECTION = Section(
    name="adaptation",
    order=50,
    find=lambda report: report.adaptation,
    table=lambda report, found: adaptation_table(found),
    words=_words,
    pictures=_pictures,
    verdicts=lambda found: [result.verdict for result in found.results],
    leaves_model=True,
    card=CardPart(
        template="adaptation/card.md.jinja", tag="domain-adaptation", pictures=_card_pictures, figures=_source_figures
    ),
)
