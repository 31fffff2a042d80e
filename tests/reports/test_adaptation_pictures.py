import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from reports.adaptation_case import adaptation, adapted, feature_map

from hf_transfer_kit.reports import adaptation_bars, adaptation_scalars, feature_maps_picture
from hf_transfer_kit.reports.adaptation.pictures import class_colours

NAMESPACE = "{http://www.w3.org/2000/svg}"
CLASSES = ["cat", "dog", "owl"]


class Picture:
    """An SVG's parts by the names that were given to them."""

    def __init__(self, svg: str) -> None:
        self.root = ET.fromstring(svg)
        self.groups = {g.get("id"): g for g in self.root.iter(f"{NAMESPACE}g") if g.get("id")}
        self.words = ["".join(text.itertext()) for text in self.root.iter(f"{NAMESPACE}text")]

    def marks(self, name: str) -> list[tuple[float, float]]:
        """(x, y) of each marker of a group."""
        return [(float(u.get("x")), float(u.get("y"))) for u in self.groups[name].iter(f"{NAMESPACE}use")]

    def style(self, name: str) -> str:
        """Styles of everything within a group."""
        return " ".join(part.get("style", "") for part in self.groups[name].iter())

    def line(self, name: str) -> list[tuple[float, float]]:
        """(x, y) of the corners of a group's first path."""
        path = next(self.groups[name].iter(f"{NAMESPACE}path")).get("d")
        return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)]


def test_every_row_is_drawn_once_by_domain_and_once_by_class():
    picture = Picture(feature_maps_picture([feature_map("Before"), feature_map("After")], CLASSES))
    for row in (0, 1):
        assert len(picture.marks(f"map-{row}-source")) == 6
        assert len(picture.marks(f"map-{row}-target")) == 3
        for index in range(3):
            assert len(picture.marks(f"map-{row}-source-class-{index}")) == 2
            assert len(picture.marks(f"map-{row}-target-class-{index}")) == 1
    assert {"Before: by domain", "Before: by class", "After: by domain", "After: by class"} <= set(picture.words)


def test_target_rows_are_filled_and_source_rows_hollow_in_the_same_colour():
    picture = Picture(feature_maps_picture([feature_map("Before")], CLASSES))
    colour = class_colours(3)[1]
    assert f"fill: {colour}" in picture.style("map-0-target-class-1")
    source = picture.style("map-0-source-class-1")
    assert f"stroke: {colour}" in source
    assert f"fill: {colour}" not in source
    assert picture.style("map-0-source") != picture.style("map-0-target")


@pytest.mark.parametrize(("count", "legend"), [(10, True), (12, True), (13, False)])
def test_beyond_twelve_classes_there_is_no_legend_of_them(count, legend):
    names = [f"class {index}" for index in range(count)]
    words = Picture(feature_maps_picture([feature_map("Before", classes=count)], names)).words
    assert [name for name in names if name in words] == (names if legend else [])
    assert {"source", "target"} <= set(words)


@pytest.mark.parametrize("count", [1, 10, 11, 100])
def test_classes_have_different_colours(count):
    assert len(set(class_colours(count))) == count


def test_predicted_classes_are_called_so():
    words = Picture(feature_maps_picture([feature_map("After", predicted=True)], CLASSES)).words
    assert "After: by predicted class" in words


def test_a_map_of_one_domain_or_with_odd_names_is_drawn():
    alone = replace(feature_map("After"), is_target=(True,) * 9)
    words = Picture(feature_maps_picture([alone], ["$x$", "_y", "z" * 30])).words
    assert "_y" in words
    assert "z" * 17 + "…" in words


def test_bars_have_a_dot_a_seed_at_its_accuracy():
    picture = Picture(adaptation_bars(adaptation()))
    low, high = sorted(picture.marks("seeds-dann:weight=0.5"))
    worst, best = sorted(picture.marks("seeds-source_only"))
    # 0.56 and 0.6 of source_only fix the scale on which 0.83 and 0.85 must lie.
    scale = (best[0] - worst[0]) / 0.04
    assert low[0] == pytest.approx(worst[0] + 0.27 * scale, abs=0.1)
    assert high[0] == pytest.approx(worst[0] + 0.29 * scale, abs=0.1)
    assert low[1] != high[1]
    line = picture.line("source-only-line")
    assert [x for x, _ in line] == pytest.approx([(worst[0] + best[0]) / 2] * 2, abs=0.1)
    assert "84.0%" in picture.words


def test_seeds_with_equal_accuracy_are_both_seen():
    equal = replace(adaptation(), results=(adapted("dann:weight=0.5", (0.8, 0.8)),))
    picture = Picture(adaptation_bars(equal))
    assert len(set(picture.marks("seeds-dann:weight=0.5"))) == 2
    assert "source-only-line" not in picture.groups


def test_the_chosen_and_the_upper_bound_stand_out():
    picture = Picture(adaptation_bars(adaptation()))
    assert "fill: #0072b2" in picture.style("bar-dann:weight=0.5")
    assert "fill: #0072b2" not in picture.style("bar-entropy")
    assert "url(#" in picture.style("bar-target_labels")
    assert "url(#" not in picture.style("bar-entropy")


def test_what_was_logged_is_drawn_and_nothing_else():
    picture = Picture(adaptation_scalars(adaptation().result("dann:weight=0.5")))
    drawn = {name.removeprefix("scalar-") for name in picture.groups if name.startswith("scalar-")}
    assert drawn == {
        "class_loss", "domain_loss", "domain_accuracy", "source_entropy", "target_entropy", "target_diversity",
        "source_feature_norm", "target_feature_norm", "adversarial_strength",
    }  # fmt: skip
    assert len(picture.line("scalar-class_loss")) == 3
    assert "healthy-band" in picture.groups


def test_the_band_of_a_healthy_domain_accuracy_lies_around_the_line():
    picture = Picture(adaptation_scalars(adaptation().result("dann:weight=0.5")))
    band = sorted({y for _, y in picture.line("healthy-band")})
    # Downwards in SVG: the axis is 0.9 at the upper edge and 0.55 at the lower one; the line lies at 0.7.
    (height,) = {y for _, y in picture.line("scalar-domain_accuracy")}
    assert (height - band[0]) / (band[-1] - band[0]) == pytest.approx((0.9 - 0.7) / 0.35, abs=0.01)


def test_a_method_without_a_domain_head_has_no_such_panel():
    log = tuple({"step": step, "class_loss": 1.0} for step in (1, 2))
    picture = Picture(adaptation_scalars(adapted("mcc", (0.5,), log=log)))
    assert "healthy-band" not in picture.groups
    assert "Losses" in picture.words
    assert "Domain accuracy" not in picture.words


@pytest.mark.parametrize("log", [(), ({"step": 1, "grad_norm": 2.0},)])
def test_nothing_to_draw_is_no_picture(log):
    assert adaptation_scalars(adapted("mcc", (0.5,), log=log)) is None


def test_a_loss_that_ran_away_is_drawn_as_far_as_it_goes():
    log = tuple({"step": step, "class_loss": loss} for step, loss in ((1, 1.0), (2, 2.0), (3, math.nan), (4, math.inf)))
    assert len(Picture(adaptation_scalars(adapted("dann", (0.5,), log=log))).line("scalar-class_loss")) == 2
