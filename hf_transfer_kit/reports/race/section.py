"""What a race adds to pages and cards."""

from __future__ import annotations

from collections.abc import Mapping

from hf_transfer_kit.metrics.words import metric_words
from hf_transfer_kit.reports.race.pictures import learning_curves, metric_bars
from hf_transfer_kit.reports.race.report import strategy_table
from hf_transfer_kit.reports.race.words import choice_sentence, winner_of
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import CardPart, CardPicture, Section
from hf_transfer_kit.values import StrategyResult


def _card_pictures(report: TransferReport, found: tuple[StrategyResult, ...]) -> Mapping[str, CardPicture]:
    curves = [result for result in found if any(point.accuracy is not None for point in result.curve)]
    metric = metric_words(curves[0].metric) if curves else ""
    words = f"Validation {metric} and loss over the steps, one line a strategy"
    return {"curves": CardPicture(learning_curves(curves) if curves else None, words)}


SECTION = Section(
    name="race",
    order=10,
    find=lambda report: report.results,
    table=lambda report, found: strategy_table(report),
    words=lambda report, found: {"winner": winner_of(report), "choice": choice_sentence(report)},
    pictures=lambda report, found, narrow: {
        "bars": metric_bars(found, report.winner, narrow=narrow),
        "curves": learning_curves(found, narrow=narrow),
    },
    tells_verdict=True,
    leaves_model=True,
    card=CardPart(pictures=_card_pictures),
)
