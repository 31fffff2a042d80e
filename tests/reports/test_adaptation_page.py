import json
import re
from dataclasses import replace

import pytest
from reports.adaptation_case import HEALTHY, ONE_CLASS, adaptation, adapted, report_of, without_labels
from reports.page_text import unlabelled

from hf_transfer_kit.reports import html_report, read_report, write_report


@pytest.fixture(scope="module")
def page() -> str:
    return unlabelled(html_report(report_of(adaptation())))


def part(page: str, heading: str) -> str:
    """The section under a heading."""
    (section,) = [part for part in page.split("<section") if f">{heading}</h2>" in part]
    return section


def rows(section: str) -> dict[str, list[str]]:
    """First cell -> the others, of a section's first table."""
    body = section[section.index("<tbody>") : section.index("</tbody>")]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", body)]
    return {re.sub("<.*", "", row[0]): row[1:] for row in cells}


def test_what_is_written_is_read_back(tmp_path):
    report = report_of(adaptation())
    write_report(tmp_path, report)
    assert read_report(tmp_path / "report.json") == report


def test_reports_from_before_are_still_read(tmp_path):
    write_report(tmp_path, report_of(adaptation()))
    written = json.loads((tmp_path / "report.json").read_text())
    del written["adaptation"]
    (tmp_path / "report.json").write_text(json.dumps(written))
    assert read_report(tmp_path / "report.json").adaptation is None


def test_the_page_starts_with_the_sentence_and_its_figures(page):
    summary = page[page.index('aria-label="Summary"') : page.index("</section>")]
    assert "26.0 points above source_only" in summary
    for figure in ("dann:weight=0.5", "84.0 %", "+26.0", "96.0 %"):
        assert f"<strong>{figure}</strong>" in summary
    assert '<section class="verdict helped"' in page


def test_the_table_has_every_method(page):
    table = rows(part(page, "Methods under one budget"))
    assert table["dann:weight=0.5"] == ["97.0 %", "1.840", "84.0 %", "1.3 %", "10, 15", "61.2", "healthy"]
    assert table["entropy"][-1] == "few classes take all"
    assert table["target_labels"][-1] == "\N{EN DASH}"
    assert page.count("An upper bound, never chosen.") == 1
    assert page.count('<tr class="winner"><th scope="row" class="name">dann:weight=0.5') == 2


def test_health_names_each_failure_with_its_advice(page):
    health = part(page, "Health of each run")
    assert health.count("✓ healthy") == 2
    assert health.count('"finding ill"') == 1
    assert "⚠ few classes take all" in health
    assert "<strong>What to change:</strong> Raise the &lt;diversity&gt; term." in health
    assert 'target_labels: <span class="state">not diagnosed' in health


def test_a_failure_of_the_chosen_method_is_said_at_the_top(page):
    ill = replace(adaptation(), results=(adapted("dann:weight=0.5", (0.3,), diagnoses=(ONE_CLASS,)),))
    top = html_report(report_of(ill))
    assert "⚠ few classes take all:" in top[: top.index("</section>")]
    assert "⚠" not in page[: page.index("</section>")]
    assert HEALTHY.finding in page


def test_agreements_say_that_labels_came_afterwards(page):
    section = part(page, "Scores that need no labels of the target")
    assert "after every choice was made" in section
    _, agreements = section.split("<h3>")
    assert rows(agreements) == {"information": ["1.2", "4.6", "7 of 8 runs", "0.81"]}
    assert rows(section)["entropy"] == ["1.320", "0.250"]
    assert "information ↑" in section
    assert "mean_entropy ↓" in section


def test_the_data_of_both_domains_are_described(page):
    data = part(page, "Data")
    assert "5,432 rows" in data
    assert "mnist_m, without labels in training and choosing" in data


def test_every_picture_has_words_and_nothing_comes_from_outside(page):
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 3
    assert all(re.search(r'alt="[^"]{60,}"', image) for image in images)
    assert "Before (3 target and 6 source rows), After (3 target and 6 source rows)" in page
    assert "dann:weight=0.5 84.0 %" in next(image for image in images if "Bars:" in image)
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)


def test_an_unlabelled_target_shows_no_accuracy():
    page = html_report(report_of(without_labels(adaptation())))
    table = rows(part(page, "Methods under one budget"))
    assert table["dann:weight=0.5"] == ["97.0 %", "1.840", "10, 15", "61.2", "healthy"]
    assert "target test" not in page
    assert "Bars:" not in page
    assert "would have chosen" not in page
    assert "Its target accuracy" not in page
    assert "mnist_m has no labels" in page
    assert "Classes of target rows are predictions." in page
    assert rows(part(page, "Scores that need no labels of the target"))["entropy"] == ["1.320", "0.250"]


def test_where_no_score_chose_none_is_named():
    page = html_report(report_of(replace(adaptation(), selected_by="last")))
    assert rows(part(page, "Methods under one budget"))["entropy"][:2] == ["97.0 %", "32.0 %"]
    assert "Every run kept its last weights." in page
    assert "Method, last weights kept" in page


def test_what_was_not_made_leaves_no_empty_section():
    bare = replace(adaptation(), results=(adapted("dann:weight=0.5", (0.5,), log=(), scores={}),), feature_maps=())
    page = html_report(report_of(replace(bare, agreements=())))
    for heading in ("How dann:weight=0.5 trained", "Features of both domains", "Scores that need no labels"):
        assert heading not in page
