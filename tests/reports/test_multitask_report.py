"""What a page, a table and pictures say of several tasks on one trunk."""

import base64
import re
from dataclasses import replace

import pytest
from reports.multitask_case import AFFINITY, LOG, TASKS, figure, multitasking, report_of, result
from reports.page_text import unlabelled

from hf_transfer_kit.reports import html_report, multitask_table, multitask_words, read_report, write_report
from hf_transfer_kit.reports.multitask.pictures import (
    affinity_picture,
    gain_bars,
    sharing_curve,
    sharing_results,
    task_losses_picture,
)
from hf_transfer_kit.reports.multitask.words import (
    affinity_sentence,
    mean_and_spread,
    multitask_sentence,
    source_sentence,
    task_effects,
)


def test_a_task_is_helped_or_hurt_by_its_verdict():
    effects = {effect.task.name: effect for effect in task_effects(multitasking())}
    assert {name: effect.outcome for name, effect in effects.items()} == {
        "topic": "helped", "spelling": "hurt", "score": "undecided",
    }  # fmt: skip
    assert effects["topic"].differences == pytest.approx((0.04, 0.03))
    assert effects["spelling"].differences == pytest.approx((-0.10, -0.07))  # less is better
    assert multitask_sentence(multitasking()) == (
        "multitask:shared_from=0 does 3 tasks in one network, -12.0 % against each task alone (mean relative gain). "
        "Sharing helps topic (by 3.5 points) and hurts spelling (by 8.5 points); of score it cannot be told."
    )
    assert multitask_words(multitasking())["outcome"] == "hurt"


def test_without_single_tasks_nothing_is_claimed():
    found = multitasking(results=multitasking().results[1:])
    assert "no task was trained alone" in multitask_sentence(found)
    assert gain_bars(found, found.results[0]) is None
    assert "Whom sharing helps" not in html_report(report_of(found))


def test_without_verdicts_no_task_is_called_helped_or_hurt():
    """As in reports of older versions, however far the seeds are apart."""
    results = (result("single", (0.7,), (0.2,), (0.5,)), result("multitask", (0.9,), (0.1,), (0.9,), delta_m=0.5))
    found = multitasking(results=results, chosen="multitask", source_task=None, before=None)
    assert multitask_sentence(found).endswith("Whom sharing helps or hurts cannot be told.")
    assert multitask_words(found)["outcome"] == "undecided"
    assert source_sentence(found) == ""


def test_the_source_task_before_and_after():
    assert source_sentence(multitasking()) == (
        "The source task topic had 71.0 ± 1.4 % before and has 74.5 ± 0.7 % after multitask:shared_from=0: it lost "
        "nothing."
    )
    assert "it lost 2.0 points." in source_sentence(multitasking(chosen="multitask:shared_from=2"))


def test_values_are_shown_in_their_unit():
    assert mean_and_spread(TASKS[0], figure(0.5)) == "50.0 %"
    assert mean_and_spread(TASKS[2], figure(0.5, 0.6)) == "0.550 ± 0.071"


def test_affinity_in_words():
    assert affinity_sentence(AFFINITY, TASKS) == (
        "Most alike: spelling and score (+0.40); least: topic and spelling (-0.25)."
    )
    assert affinity_sentence(((1.0, None), (None, 1.0)), TASKS[:2]) == "No two tasks met."
    assert affinity_sentence(((1.0, 0.1), (0.1, 1.0)), TASKS[:2]) == "topic and spelling: +0.10."


def test_pictures_show_the_numbers():
    found = multitasking()
    chosen = found.result(found.chosen)
    matrix = affinity_picture(AFFINITY, TASKS)
    assert matrix.count("-0.25") == 2
    assert matrix.count("+0.40") == 2
    assert "+1.00" not in matrix  # every task agrees with itself
    bars = gain_bars(found, chosen)
    assert "+4.9 %" in bars  # (0.04/0.70 + 0.03/0.72) / 2
    assert "-40.9 %" in bars  # spelling: (0.10/0.20 + 0.07/0.22) / 2, less is better
    assert 'id="gain-seeds-spelling"' in bars
    curve = sharing_curve(found)
    assert 'id="sharing-topic"' in curve
    assert [r.shared_from for r in sharing_results(found)] == [0, 2]
    assert sharing_curve(multitasking(results=found.results[:2])) is None


def test_losses_are_drawn_and_weights_where_they_change():
    found = multitasking()
    chosen = found.result(found.chosen)
    assert "Weight of each task" in task_losses_picture(chosen, TASKS)
    constant = tuple({**entry, "weight_topic": 1.0} for entry in LOG)
    plain = task_losses_picture(replace(chosen, log=constant), TASKS)
    assert "Loss of each task" in plain
    assert "Weight of each task" not in plain
    assert task_losses_picture(replace(chosen, log=()), TASKS) is None


def test_the_table_for_the_console():
    lines = multitask_table(multitasking()).splitlines()
    assert "topic (accuracy)" in lines[0]
    assert lines[1].startswith("  single")
    assert lines[2].startswith("* multitask:shared_from=0")
    assert "74.5 ± 0.7 %" in lines[2]
    assert "-12.0 %" in lines[2]
    assert "-3.5" in lines[2]


def test_the_page_holds_all_and_nothing_from_outside(tmp_path):
    page = unlabelled(html_report(report_of(multitasking())))
    for text in (
        "Sharing helps topic",
        "The source task topic had",
        "Do the tasks pull the same way?",
        "How many layers should each input have for itself?",
        "<td>ctc</td>",
        "1,200",
    ):
        assert text in page
    assert '<section class="verdict hurt"' in page
    images = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)" alt="([^"]+)"', page)
    assert len(images) == page.count("<img") == 4
    assert all(base64.b64decode(data).startswith(b"<svg") for data, _ in images)
    assert not re.search(r'(src|href)="(?!data:)', page)
    write_report(tmp_path, report_of(multitasking()))
    again = read_report(tmp_path / "report.json")
    assert again.multitasking == multitasking()
    assert unlabelled(html_report(again)) == page
