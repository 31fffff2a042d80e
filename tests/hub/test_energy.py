"""Energy is what counters of the machine say, and nothing where there are none."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hub.sharing_cases import classified

from hf_transfer_kit.hub import EnergyMeter, TransferCard
from hf_transfer_kit.hub.energy import packages
from hf_transfer_kit.reports import html_report

RANGE = 262_143_328_850


@pytest.fixture
def counters(tmp_path) -> Path:
    """Two packages, a part of the first, and the same package as another interface shows it."""
    for name, words in (
        ("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "core"),
        ("intel-rapl:2", "psys"),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(f"{words}\n")
        (tmp_path / name / "max_energy_range_uj").write_text(f"{RANGE}\n")
        show(tmp_path, name, 1_000_000)
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def show(folder: Path, name: str, microjoules: int) -> None:
    path = folder / name / "energy_uj"
    path.with_suffix(".new").write_text(f"{microjoules}\n")
    path.with_suffix(".new").replace(path)


def test_packages_alone_are_counted(counters):
    assert [path.name for path in packages(counters)] == ["intel-rapl:0", "intel-rapl:1"]


def test_the_count_is_the_sum_over_packages_in_watt_hours(counters):
    meter = EnergyMeter(counters).start()
    assert meter.watt_hours() == 0.0
    show(counters, "intel-rapl:0", 1_000_000 + 7_200_000_000)  # 7,200 J
    show(counters, "intel-rapl:1", 1_000_000 + 3_600_000_000)
    show(counters, "intel-rapl:0:0", 9_000_000_000)
    show(counters, "intel-rapl:2", 9_000_000_000)
    assert meter.watt_hours() == pytest.approx(3.0)
    meter.stop()


def test_a_counter_that_begins_anew_goes_on(counters):
    show(counters, "intel-rapl:0", RANGE - 1_000_000)
    meter = EnergyMeter(counters).start()
    show(counters, "intel-rapl:0", 2_600_000)
    assert meter.watt_hours() == pytest.approx(3.6 / 3600)
    meter.stop()


def test_it_is_read_between_so_that_no_round_is_missed(counters):
    meter = EnergyMeter(counters, every=0.01).start()
    for _ in range(3):
        for value in (RANGE // 2, RANGE - 1, 1_000_000):
            show(counters, "intel-rapl:0", value)
            while meter._last[counters / "intel-rapl:0"] != value:
                time.sleep(0.01)
    assert meter.watt_hours() == pytest.approx(3 * RANGE / 1e6 / 3600)
    meter.stop()


def test_where_nothing_counts_there_is_no_figure_and_no_thread(counters, tmp_path):
    threads = threading.active_count()
    assert EnergyMeter(tmp_path / "none").start().watt_hours() is None
    (counters / "intel-rapl:1" / "energy_uj").write_text("not to be read")
    assert EnergyMeter(counters).start().watt_hours() is None
    assert threading.active_count() == threads


def test_half_a_count_is_none(counters):
    meter = EnergyMeter(counters).start()
    show(counters, "intel-rapl:0", 7_200_000_000)
    (counters / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.watt_hours() is None
    meter.stop()


def test_card_and_page_say_it_where_it_is_known():
    report = classified("text", 2)
    counted = replace(report, watt_hours=12.3456)
    line = "about 12.3 Wh in the processor's packages, counted by the machine, other work on it included; memory"
    assert f"- energy: {line}" in str(TransferCard.from_report(counted))
    assert f"<dt>Energy</dt><dd>{line}".replace("'", "&#39;") in html_report(counted)
    for page in (str(TransferCard.from_report(report)), html_report(report)):
        assert "nergy" not in page
