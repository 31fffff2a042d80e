"""Verdicts in pages and on the console: one form for all recipes, each run's figure, and the reason where none is."""

import re
from dataclasses import replace

from reports.adaptation_case import adaptation, without_labels
from reports.adaptation_case import report_of as adaptation_page
from reports.multitask_case import multitasking
from reports.multitask_case import report_of as multitask_page
from reports.page_text import unlabelled
from reports.verdict_case import verdict

from hf_transfer_kit.reports import all_verdicts, html_report, read_report, verdict_lines, write_report
from hf_transfer_kit.reports.adaptation.words import why_not_adapted
from hf_transfer_kit.reports.multitask.words import why_not_together


def cells(page: str) -> list[list[str]]:
    section = page[page.index("<h2>Verdicts</h2>") :]
    rows = re.findall(r"<tr>(.*?)</tr>", section[: section.index("</section>")], re.DOTALL)[1:]
    return [[re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in rows]


def test_every_method_is_judged_the_chosen_first_and_each_seed_is_shown():
    report = adaptation_page(adaptation())
    assert [found.winner for found in all_verdicts(report)] == ["dann:weight=0.5", "entropy"]
    page = unlabelled(html_report(report))
    assert cells(page)[0] == [
        "dann:weight=0.5", "source_only", "accuracy", "+26.0", "+13.0 to +39.0", "helped", "70.0 %, 80.0 %", "60.0 %, 65.0 %",
    ]  # fmt: skip
    assert "<p>dann:weight=0.5 helped against source_only.</p>" in page
    assert verdict_lines(report) == ["dann:weight=0.5 helped against source_only."]


def test_of_tasks_each_has_its_own_in_its_metric():
    report = multitask_page(multitasking())
    spelling = next(row for row in cells(html_report(report)) if row[0] == "spelling")
    assert spelling[3:7] == ["character error rate ↓", "+8.5", "+4.2 to +12.8", "hurt"]
    assert len(verdict_lines(report)) == 3


def test_where_there_is_none_the_reason_is_told():
    unlabelled = without_labels(adaptation())
    report = adaptation_page(unlabelled)
    assert verdict_lines(report) == ["Whether adapting helped is not judged: test rows of mnist_m have no labels."]
    page = html_report(report)
    assert "<h2>Verdicts</h2>" not in page
    assert "test rows of mnist_m have no labels." in page
    alone = adaptation()
    assert "does not adapt" in why_not_adapted(replace(alone, chosen="source_only"))
    assert "no task was trained alone" in why_not_together(
        multitasking(results=multitasking().results[2:], chosen="multitask:shared_from=2")
    )
    assert why_not_together(multitasking()) == ""


def test_verdicts_are_read_back(tmp_path):
    for report in (adaptation_page(adaptation()), multitask_page(multitasking())):
        write_report(tmp_path, report)
        found = read_report(tmp_path / "report.json")
        assert all_verdicts(found) == all_verdicts(report)
    assert verdict("a", "b", "helped", 0.1).winner_runs == (0.7, 0.8)
