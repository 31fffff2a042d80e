import json
import re
from dataclasses import replace

import numpy as np
import pytest
from reports.page_text import unlabelled

from hf_transfer_kit.reports import (
    TransferReport,
    growing_table,
    html_report,
    read_report,
    strategy_table,
    write_report,
)
from hf_transfer_kit.reports.described import confusion_table
from hf_transfer_kit.reports.pictures import confusion_picture, most_confused
from hf_transfer_kit.values import (
    ConfusionTable,
    CurvePoint,
    Growing,
    RunFigures,
    SourceResult,
    StrategyResult,
    Verdict,
)


@pytest.fixture
def report() -> TransferReport:
    curve = (CurvePoint(5, 1.0, 0.9, 0.5), CurvePoint(10, 0.5, 0.7, 0.6))
    results = tuple(
        StrategyResult(
            name,
            f"About {name}.",
            (0, 1),
            {"accuracy": a, "loss": 1.0},
            {"accuracy": a, "macro_f1": a},
            {"accuracy": 0.02},
            curve,
            10,
            100,
            2.0,
        )
        for name, a in (("full", 0.75), ("from_scratch", 0.5))
    )
    return TransferReport(
        recipe="transfer",
        metrics={"accuracy": 0.75, "loss": 0.7},
        baselines={"from_scratch": {"accuracy": 0.5}},
        plan={"strategy": "full", "learning_rate": 0.001},
        layer_groups=[
            {"depth": 0, "name": "stem", "parameters": 1200, "trainable": 1.0, "head": False, "modules": ["stem"]}
        ],
        data={
            "modality": "image",
            "classes": ["cat", "<script>alert(1)</script>"],
            "sizes": {"train": 10, "test": 1200},
            "fingerprints": {"train": "a", "test": "b"},
            "skipped_rows": 2,
        },
        seconds={"total": 12.0},
        versions={"torch": "2"},
        seed=0,
        command="python scripts/transfer.py --dataset ../birds/data",
        title="net on birds",
        model_name="net",
        dataset_name="birds",
        results=results,
        winner="full",
        verdict=Verdict("full", "from_scratch", 0.25, 0.1, 0.4, 0.95, "helped", "Transfer helped."),
        confusion=ConfusionTable(("cat", "dog"), ((3, 1), (0, 4))),
        budget={"steps": 10, "batch_size": 4, "seeds": [0, 1]},
        other_sources=(
            SourceResult(
                "rival", results[1], Verdict("full", "rival", -0.2, -0.3, -0.1, 0.95, "hurt", "rival is better.")
            ),
        ),
    )


def test_what_is_written_is_read_back(report, tmp_path):
    write_report(tmp_path, report)
    assert read_report(tmp_path / "report.json") == report
    contract = {
        "recipe",
        "metrics",
        "baselines",
        "plan",
        "layer_groups",
        "data",
        "seconds",
        "versions",
        "seed",
        "command",
    }
    assert contract <= set(json.loads((tmp_path / "report.json").read_text()))


def test_the_page_is_self_contained_and_says_the_figures(report):
    page = unlabelled(html_report(report))
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "@import" not in page
    for words in (
        "Transfer helped.",
        "75.0 %",
        "+25.0",
        "full",
        "from_scratch",
        "1,200",
        "2 rows that could not be read",
        "rival is better.",
        "-30.0 to -10.0",
    ):
        assert words in page


def test_the_page_escapes_what_data_brings(report):
    page = unlabelled(html_report(report))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_page_is_accessible(report):
    page = unlabelled(html_report(report))
    assert '<html lang="en">' in page
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 3
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)
    assert page.count("<caption>") + page.count("aria-describedby") == page.count("<table")


def test_on_a_phone_words_wrap_and_pictures_stay_readable(report):
    page = unlabelled(html_report(report))
    # What a table's caption says would scroll along with the table: long ones stand before it.
    assert all(len(caption) < 50 for caption in re.findall(r"<caption>(.*?)</caption>", page))
    # A wide picture scrolls rather than shrinks; a narrow one fits as it is.
    assert set(re.findall(r"<figure([^>]*)>", page)) == {' class="wide"', ' class="narrow"'}


def test_the_console_table_marks_the_winner(report):
    lines = strategy_table(report).splitlines()
    assert lines[1].startswith("* full")
    assert "0.750" in lines[1]
    assert "10.00%" in lines[1]


def test_confusion_counts():
    table = confusion_table(("a", "b", "c"), np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0]))
    assert table.counts == ((1, 1, 0), (0, 1, 0), (1, 0, 1))


def test_of_many_classes_the_most_confused_are_drawn():
    counts = np.diag(np.full(40, 9))
    counts[3, 30] = counts[30, 5] = 4
    table = ConfusionTable(tuple(map(str, range(40))), tuple(map(tuple, counts.tolist())))
    smaller = most_confused(table, 3)
    assert smaller.labels == ("3", "5", "30")
    assert smaller.counts == ((9, 0, 4), (0, 9, 0), (0, 4, 9))
    assert confusion_picture(table).startswith("<svg")


def test_rates_and_intervals_are_on_the_page_and_are_read_back(report, tmp_path):
    groups = [{**report.layer_groups[0], "learning_rate": 0.0005}]
    results = (replace(report.results[0], test_interval=(0.7, 0.801)), report.results[1])
    told = replace(report, layer_groups=groups, results=results)
    write_report(tmp_path, told)
    assert read_report(tmp_path / "report.json") == told
    page = unlabelled(html_report(told))
    assert "75.0 % (70.0 to 80.1)</td>" in page
    assert "50.0 %</td>" in page
    assert 'class="n">learning rate</th>' in page
    assert 'class="n">0.0005</td>' in page
    assert "learning rate</th>" not in html_report(report)


def test_a_report_of_an_older_version_is_read(report, tmp_path):
    write_report(tmp_path, report)
    path = tmp_path / "report.json"
    values = json.loads(path.read_text())
    for result in values["results"]:
        del result["test_interval"]
    path.write_text(json.dumps(values))
    assert read_report(path) == report


def test_old_and_new_classes_of_a_network_that_grew(report, tmp_path):
    found = Growing(
        old_classes=("cat", "dog"), new_classes=("fox",), kept_by=("replay of 40 rows of pets",), overall=0.75,
        new=0.5, before=0.975, after=0.95, forgetting=0.025, old_rows=1200, new_rows=100, replayed={"cat": 20, "dog": 20},
    )  # fmt: skip
    write_report(tmp_path, replace(report, growing=found, verdict=None))
    assert read_report(tmp_path / "report.json").growing == found
    page = unlabelled((tmp_path / "report.html").read_text())
    for text in (
        "Old classes and new ones",
        "97.5 %",
        "95.0 %",
        '<td class="n">2.5</td>',
        "cat 20, dog 20",
        found.sentence,
    ):
        assert text in page, text
    assert found.sentence == (
        "New classes are named rightly in 50.0 % of their rows. Old classes: 97.5 % before, among 2, 95.0 % now, among "
        "all 3: 2.5 points lost."
    )
    old, new, everything = growing_table(found).splitlines()[1:4]
    assert old.split() == ["old", "2", "1200", "97.5", "%", "95.0", "%", "2.5"]
    assert new.split() == ["new", "1", "100", "-", "50.0", "%", "-"]
    assert everything.split() == ["all", "3", "1300", "-", "75.0", "%", "-"]
    blind = replace(found, before=None, after=None, forgetting=None, old_rows=0)
    assert "Forgetting was not measured" in blind.sentence
    assert "not measured" in html_report(replace(report, growing=blind))
    assert "2.5 points gained" in replace(found, forgetting=-0.025).sentence


def test_the_file_is_strict_json_whatever_was_measured(report, tmp_path):
    nan = float("nan")
    runs = (RunFigures("full", 0, {"test": {"mse": nan, "accuracy": 0.5, "loss": float("inf")}}, 10, 1.0),)
    write_report(tmp_path, replace(report, runs=runs, seconds={"total": nan}))
    text = (tmp_path / "report.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    (run,) = read_report(tmp_path / "report.json").runs
    assert run.figures == {"test": {"mse": None, "accuracy": 0.5, "loss": None}}
