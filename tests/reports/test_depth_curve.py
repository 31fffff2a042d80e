import json

import pytest

from hf_transfer_kit.reports import (
    TransferReport,
    depth_picture,
    depth_table,
    html_report,
    read_report,
    save_depth_picture,
    write_report,
)
from hf_transfer_kit.reports.depth.pictures import depth_alt_text
from hf_transfer_kit.values import DepthResult, DepthSearch


def result(depth, rung, accuracy, **changes):
    values = {
        "depth": depth, "group": f"block {depth}", "strategy": f"freeze_first:k={depth}", "rung": rung,
        "steps": (10, 90)[rung], "seeds": (0, 1), "accuracy": accuracy, "error": 0.02,
        "test_accuracy": 0.5 if rung else None, "seconds": 2.0, "cost": 3.0 - depth, "trainable_parameters": 1000,
        "cached": depth > 0,
    }  # fmt: skip
    return DepthResult(**{**values, **changes})


@pytest.fixture
def search() -> DepthSearch:
    results = (result(0, 0, 0.4), result(1, 1, 0.8), result(2, 1, 0.79))
    seconds = {"total": 12.0, "caching": 1.0, "training": 10.0}
    return DepthSearch(2, "freeze_first:k=2", "first", results, seconds, "Freeze 2 of 3.", ("Depth 0 <was> slow.",))


@pytest.fixture
def report(search) -> TransferReport:
    return TransferReport(
        recipe="search_depth", metrics={}, baselines={}, plan={"strategy": search.strategy}, layer_groups=None,
        data={"modality": "image", "classes": ["a", "b"], "sizes": {"train": 4}, "fingerprints": {"train": "x"}, "skipped_rows": 0},
        seconds={"total": 12.0}, versions={}, seed=0, command="python scripts/search_depth.py", depth_searches=(search,),
    )  # fmt: skip


def test_the_picture_has_every_depth_its_error_and_its_cost(search):
    accuracy, cost = depth_picture(search).axes
    points = [container.lines[0] for container in accuracy.containers]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in points] == [(0, 0.4), (1, 0.8), (2, 0.79)]
    bars = [container.lines[2][0].get_segments()[0] for container in accuracy.containers]
    assert bars[2][0][1] == pytest.approx(0.77)
    assert bars[2][1][1] == pytest.approx(0.81)
    assert [bar.get_height() for bar in cost.patches] == [3.0, 2.0, 1.0]
    assert [bar.get_hatch() for bar in cost.patches] == ["//", None, None]
    colours = [line.get_color() for line in points]
    assert len(set(colours)) == 3
    words = {text.get_text(): text.xy for text in accuracy.texts}
    assert words["chosen"][0] == 2
    assert words["10 steps"][0] == 0


def test_the_words_for_those_who_cannot_see_it(search):
    assert depth_alt_text(search).endswith("2: 79.0% ± 2.0% after 90 steps. Chosen: 2.")


@pytest.mark.parametrize(("ending", "mark"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_it_is_saved(search, tmp_path, ending, mark):
    save_depth_picture(search, tmp_path / f"depth.{ending}")
    assert (tmp_path / f"depth.{ending}").read_bytes().startswith(mark)


def test_one_depth_is_a_picture_too(search, tmp_path):
    alone = DepthSearch(0, "full", "last", (result(0, 0, 0.4, error=0.0),), search.seconds, "One.")
    save_depth_picture(alone, tmp_path / "depth.png")


def test_the_table_marks_the_choice(search):
    marked = [line for line in depth_table(search).splitlines() if line.startswith("*")]
    assert len(marked) == 1
    assert "0.790 ± 0.020" in marked[0]


def test_the_report_shows_the_search_and_reads_back(report, tmp_path):
    page = html_report(report)
    assert "How many layers to freeze" in page
    assert "Freeze 2 of 3." in page
    assert 'alt="Points: validation accuracy by number of frozen layer groups.' in page
    assert "Depth 0 &lt;was&gt; slow." in page
    write_report(tmp_path, report)
    assert read_report(tmp_path / "report.json") == report
    written = json.loads((tmp_path / "report.json").read_text())
    del written["depth_searches"]
    (tmp_path / "report.json").write_text(json.dumps(written))
    assert read_report(tmp_path / "report.json").depth_searches == ()
