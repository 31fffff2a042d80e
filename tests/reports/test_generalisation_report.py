"""Several sources as words, page, picture, table and report.json: figures are those of the values."""

import re
from dataclasses import replace

import pytest
import tiny
from datasets import Dataset
from reports.generalisation_case import generalisation, report_of, two_sources
from reports.page_text import unlabelled

from hf_transfer_kit.data import LoadedData, LoadedSources, PreparedData
from hf_transfer_kit.hub import TransferCard
from hf_transfer_kit.reports import (
    RunFacts,
    generalisation_report,
    generalisation_table,
    generalisation_words,
    html_report,
    read_report,
    write_report,
)
from hf_transfer_kit.reports.generalisation.pictures import left_out_picture
from hf_transfer_kit.selection import Budget


def test_what_a_new_domain_can_expect_is_a_range_beside_what_is_known():
    words = generalisation_words(generalisation())
    assert words["sentence"] == (
        "On a new domain expect 59.0 to 73.0 %: what joint:average=swad reached on cartoon and on photo when it was "
        "trained on the other 2 sources (mean of all left out 65.0 %). On rows like those that they learned from the "
        "same networks reached 90.0 %."
    )
    assert words["tested"] == (
        "Trained on all sources, joint:average=swad reaches 91.0 ± 1.4 % on the sources' test rows and 65.0 ± 1.4 % on "
        "those of sketch, on which nothing was learned or chosen: inside the range that the sources left out foretold."
    )
    assert words["choice"] == (
        "joint:average=swad has the best mean over the sources left out; joint comes next, 4.0 points behind: more than "
        "the 1.4 points by which such a mean varies over 2 seeds (standard deviation)."
    )
    assert words["alike"] == ""


@pytest.mark.parametrize(("value", "place"), [(0.4, "below the range"), (0.59, "inside"), (0.9, "above the range")])
def test_whether_the_unseen_domain_was_foretold_is_said(value, place):
    assert place in generalisation_words(replace(generalisation(), unseen=(value,)))["tested"]


def test_without_an_unseen_domain_and_with_one_seed_less_is_claimed():
    words = generalisation_words(two_sources())
    assert words["tested"].endswith("reaches 85.0 % on the sources' test rows; no domain was kept for a last figure.")
    assert words["choice"].endswith("coral comes next, level with it. One seed cannot tell whether that is chance.")
    assert "trained on the other source (mean" in words["sentence"]
    assert "joint, coral are one and the same there" in words["alike"]
    assert "learns from a single one: that is harder" in generalisation_words(replace(two_sources(), alike=()))["alike"]
    alone = replace(two_sources(), results=two_sources().results[:1])
    assert generalisation_words(alone)["choice"] == "joint was the only method."


def test_a_lead_within_the_spread_is_called_so():
    found = generalisation()
    spread = replace(found.results[2], left_out={"photo": (0.73, 0.69), "art": (0.63, 0.59), "cartoon": (0.66, 0.54)})
    close = generalisation_words(replace(found, results=(found.results[1], spread)))["choice"]
    assert "coral:weight=0.1 comes next, 1.0 points behind: no more than the 4.7 points by which" in close


def test_the_page_holds_every_figure_and_is_read_back(tmp_path):
    report = report_of(generalisation())
    page = unlabelled(html_report(report))
    for text in ("59.0 %", "73.0 %", "63.0 %", "65.0 %", "sketch, never seen", "(61.0 to 70.0)", "coral:weight=0.1"):
        assert text in page, text
    assert "Sources</dt>" in page
    assert page.count("<img") == 1
    write_report(tmp_path, report)
    assert read_report(tmp_path / "report.json").generalisation == generalisation()
    assert "sketch" not in html_report(report_of(two_sources()))


def test_the_picture_has_a_mark_for_each_method_and_source():
    picture = left_out_picture(generalisation())
    for result in generalisation().results:
        for gid in (f"mean-{result.method}", f"known-{result.method}", f"range-{result.method}"):
            assert f'id="{gid}"' in picture
        for name in ("photo", "art", "cartoon"):
            assert f'id="left-out-{result.method}-{name}"' in picture
    assert re.search(r">photo left out</text>", picture)


def test_the_table_marks_the_choice():
    lines = generalisation_table(generalisation()).splitlines()
    assert len({len(line) for line in lines}) == 1
    (marked,) = [line for line in lines if line.startswith("*")]
    assert marked.split() == [
        "*", "joint:average=swad", "0.730", "0.630", "0.590", "0.650", "±", "0.014", "0.590", "0.900", "12.5",
    ]  # fmt: skip
    assert "±" not in generalisation_table(two_sources())


def test_the_card_says_what_to_expect():
    made = TransferCard.from_report(report_of(generalisation()), license="mit", datasets=["me/photo", "me/cartoon"])
    told = {(result.dataset_name, result.metric_value) for result in made.data.eval_results}
    assert told == {("photo", 0.95), ("art", 0.85), ("cartoon", 0.9), ("sketch", 0.64)}
    assert "me/cartoon" not in {result.dataset_type for result in made.data.eval_results}
    card = str(made)
    assert "**On a new domain expect 59.0 to 73.0 %" in card
    assert "| **joint:average=swad** | 73.0 % | 63.0 % | 59.0 % | 65.0 % | 1.4 % | 90.0 % |" in card
    assert "domain-generalization" in card
    assert "photo, art, cartoon" in card
    assert "One seed was run" in str(TransferCard.from_report(report_of(two_sources()), license="mit"))


def test_the_report_has_the_saved_networks_metrics():
    def loaded(name, rows):
        data = Dataset.from_dict({"x": list(range(rows)), "label": [0] * rows})
        return LoadedData(name, "image", data, data, data, ("x",), "label", ("cat", "dog", "owl"))

    model, _ = tiny.timm_wrapped("resnet18", 3)
    made = generalisation_report(
        generalisation(),
        model,
        RunFacts("net", "python scripts/adapt.py", 0, Budget(15, 4), 5e-4, {"total": 3.0}),
        sources=LoadedSources({"photo": loaded("photo", 5)}),
        prepared=PreparedData([], [], [], None, "image", ("cat", "dog", "owl"), {"image_size": 28}),
        unseen=loaded("sketch", 7),
    )
    assert made.metrics == pytest.approx({
        "accuracy": 0.9, "left_out_accuracy": 0.65, "accuracy_on_photo": 0.95, "accuracy_on_art": 0.85,
        "accuracy_on_cartoon": 0.9, "accuracy_on_sketch": 0.64,
    })  # fmt: skip
    assert made.baselines["joint"] == {"left_out_accuracy": pytest.approx(0.61)}
    assert made.data["sizes"]["sketch (unseen), test"] == 7
    assert "sketch (unseen), train" not in made.data["sizes"]
