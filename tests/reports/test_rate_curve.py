import pytest

from hf_transfer_kit.reports.rate_curve import rate_picture, save_rate_picture
from hf_transfer_kit.values import RateCurve

CURVE = RateCurve((1e-4, 1e-3, 1e-2), (1.0, 0.5, 2.0), (1.0, 0.6, 1.8), 1e-4, 1e-4)


def test_the_picture_shows_the_curve_and_both_suggestions():
    (axes,) = rate_picture(CURVE).axes
    assert axes.get_xscale() == "log"
    assert [line.get_label() for line in axes.get_lines()] == [
        "loss of each step",
        "smoothed",
        "steepest descent: 1.0e-04",
        "minimum / 10: 1.0e-04",
    ]
    assert list(axes.get_lines()[1].get_ydata()) == list(CURVE.smoothed)


@pytest.mark.parametrize(("ending", "mark"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_it_is_saved(tmp_path, ending, mark):
    save_rate_picture(CURVE, tmp_path / f"rate.{ending}")
    assert (tmp_path / f"rate.{ending}").read_bytes().startswith(mark)
