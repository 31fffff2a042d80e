"""How sure a race's choice is: what chance in the validation rows alone allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hub.sharing_cases import classified
from scipy.stats import binomtest

from hf_transfer_kit.reports import TransferReport, html_report
from hf_transfer_kit.reports.race.words import choice_sentence, wilson_interval


@pytest.mark.parametrize(("right", "rows"), [(0, 7), (31, 48), (48, 48), (700, 1000)])
def test_the_interval_is_wilsons(right, rows):
    known = binomtest(right, rows).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right / rows, rows) == pytest.approx((known.low, known.high), abs=1e-9)


def race(rows: int, **changes) -> TransferReport:
    """Three quarters of the validation rows right, and half from scratch."""
    report = classified("image", 2, **changes)
    return replace(report, data={**report.data, "sizes": {"train": 60, "validation": rows, "test": 20}})


def test_a_choice_within_the_noise_is_called_so():
    sentence = choice_sentence(race(12))
    assert sentence == (
        "On 12 validation rows full reached 75.0 %, of which chance in the rows alone allows 46.8 to 91.1 % (95 % "
        "interval). from_scratch is inside: the choice is within the noise."
    )
    assert sentence in html_report(race(12))


def test_more_rows_make_it_clear():
    assert choice_sentence(race(480)).endswith("No other strategy is inside: the choice is clearer than that chance.")


def test_where_nothing_can_be_told_nothing_is():
    alone = race(12).results[:1]
    f1 = tuple(replace(each, metric="macro_f1") for each in race(12).results)
    assert choice_sentence(race(12, results=alone)) == ""
    assert choice_sentence(race(12, results=f1)) == ""
    assert choice_sentence(race(12, winner=None)) == ""
    assert choice_sentence(race(0)) == ""
