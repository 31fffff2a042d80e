"""What a page, a table and pictures say of classes never seen."""

import base64
import re

import pytest
from reports.page_text import unlabelled
from reports.zero_shot_case import report_of, result, unseen_classes

from hf_transfer_kit.reports import html_report, read_report, write_report, zero_shot_table, zero_shot_words
from hf_transfer_kit.reports.zero_shot.pictures import attribute_bars, seen_unseen_picture, table_picture, unseen_bars
from hf_transfer_kit.values import AttributeFigure


def test_the_sentence_sets_chance_below_and_labels_above():
    words = zero_shot_words(unseen_classes())
    assert words["sentence"] == (
        "eszsl names 75.0 ± 5.0 % of rows of classes it never saw rightly, among 2 such classes; guessing names 50.0 %, "
        "a classifier that has their labels 97.0 % (mean ± standard deviation of 3 splits of the classes)."
    )
    assert words["calibration"] == (
        "Among all classes, 5.0 % of rows of unseen and 90.0 % of seen classes are named rightly without calibration "
        "(harmonic mean 0.10), 40.0 % and 60.0 % with it (0.50)."
    )
    assert words["outcome"] == "helped"
    assert words["labelled"] == pytest.approx(0.97)


@pytest.mark.parametrize(
    ("values", "outcome"),
    [((0.8, 0.75, 0.7), "helped"), ((0.2, 0.25, 0.3), "hurt"), ((0.9, 0.1, 0.6), "unclear"), ((0.9, 0.9), "unclear")],
)
def test_better_than_chance_is_beyond_two_standard_errors(values, outcome):
    found = unseen_classes(results=(result("eszsl", *values),))
    assert zero_shot_words(found)["outcome"] == outcome


def test_one_split_has_no_spread():
    found = unseen_classes(results=(result("eszsl", 0.8),), unseen=(("zebra", "owl"),), labelled=())
    words = zero_shot_words(found)
    assert words["sentence"].endswith("names 50.0 % (one split of the classes).")
    assert "±" not in zero_shot_table(found)


def test_the_table_marks_the_chosen_method_and_names_other_tables():
    lines = zero_shot_table(unseen_classes()).splitlines()
    assert lines[1].startswith("* eszsl ")
    assert "75.0 ± 5.0 %" in lines[1]
    assert lines[3].startswith("  eszsl on names ")
    assert lines[-1] == "guessing names 50.0 %; attributes read rightly 90.0 %; a classifier with their labels 97.0 %"


def test_the_page_is_whole_and_reads_back(tmp_path):
    report = report_of(unseen_classes())
    assert report.metrics["unseen_accuracy"] == 0.8
    assert report.baselines["dap"]["unseen_accuracy"] == pytest.approx(0.5167, abs=1e-3)
    assert report.plan["gamma"] == 0.21
    write_report(tmp_path, report)
    again = read_report(tmp_path / "report.json")
    assert again == report
    page = html_report(again)
    assert page == (tmp_path / "report.html").read_text()
    page = unlabelled(page)
    for text in (
        'class="verdict helped"',
        "Seen against unseen",
        "What describes the classes",
        "Unseen classes, as named by eszsl",
        "zebra rather than horse: for stripes",
        "have equal rows",
        "may show the very classes that are called unseen",
        "<dt>Data</dt><dd>beasts</dd>",
    ):
        assert text in page, text
    assert "http" not in re.sub(r"data:[^\"]*", "", page).replace("http-equiv", "")
    assert html_report(report_of(unseen_classes(), pretrained=False)).count("may show the very classes") == 0
    assert "was trained on all seen classes" in html_report(report_of(unseen_classes(), trained=60))
    assert "was trained on all seen classes" not in page
    assert "Unseen classes, as named" not in html_report(report_of(unseen_classes(confusion=None)))


def test_pictures_hold_what_they_should():
    found = unseen_classes()
    assert unseen_bars(found).count("<use") >= 9  # a dot a split
    curve = seen_unseen_picture(found)
    assert "eszsl" in curve
    assert "dap" in curve
    table = table_picture(found)
    assert "zebra *" in table
    assert "hooves" in table
    assert table.index("ant<") < table.index("zebra *")  # unseen ones last
    many = tuple(AttributeFigure(f"attribute {i}", 1 - i / 100, 0.5) for i in range(60))
    bars = attribute_bars(unseen_classes(attribute_figures=many))
    assert "attribute 0<" in bars
    assert "attribute 59<" in bars
    assert "attribute 30<" not in bars


def test_what_comes_from_outside_is_escaped():
    found = unseen_classes(explanations=("<script>alert(1)</script>",))
    page = html_report(report_of(found))
    assert "<script>alert" not in page
    pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    assert all(b"<svg" in base64.b64decode(picture) for picture in pictures)
