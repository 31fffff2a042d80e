"""The worst mistakes: which rows, what of them is shown, and where it must not be."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from hub.sharing_cases import classified
from PIL import Image as Pictures

from hf_transfer_kit.data import LoadedData
from hf_transfer_kit.reports import html_report, read_report, write_report
from hf_transfer_kit.reports.mistakes import thumbnail, worst_mistakes
from hf_transfer_kit.values import Mistake

TRUE = np.array([0, 1, 0, 1])
SAID = np.array([0, 0, 1, 1])
SURE = np.array([0.99, 0.6, 0.9, 0.5])


def texts(words: list[str]) -> LoadedData:
    rows = Dataset.from_dict(
        {"text": words, "label": [0, 1, 0, 1]},
        features=Features({"text": Value("string"), "label": ClassLabel(names=["calm", "angry"])}),
    )
    return LoadedData("words", "text", rows, rows, rows, ("text",), "label", ("calm", "angry"))


def pictures(folder) -> LoadedData:
    noise = np.random.default_rng(0)
    paths = []
    for index, side in enumerate((20, 300, 640, 40)):
        paths.append(str(folder / f"photo {index}.png"))
        Pictures.fromarray(noise.integers(0, 255, (side, 2 * side, 3), dtype=np.uint8)).save(paths[-1])
    rows = Dataset.from_dict(
        {"image": paths, "label": [0, 1, 0, 1]},
        features=Features({"image": Image(), "label": ClassLabel(names=["cat", "owl"])}),
    )
    return LoadedData("photos", "image", rows, rows, rows, ("image",), "label", ("cat", "owl"))


def test_wrong_rows_the_surest_first():
    found = worst_mistakes(TRUE, SAID, SURE, texts(["a", "b", "c", "d"]))
    assert [(m.row, m.label, m.predicted, m.probability, m.text) for m in found] == [
        (2, "calm", "angry", 0.9, "c"), (1, "angry", "calm", 0.6, "b")
    ]  # fmt: skip


def test_rows_are_counted_as_they_were_given():
    data = replace(texts(["a", "b", "c", "d"]), given_rows={"test": (7, 8, 9, 11)})
    assert [m.row for m in worst_mistakes(TRUE, SAID, SURE, data)] == [9, 8]


def test_long_texts_are_cut():
    found = worst_mistakes(TRUE, SAID, SURE, texts(["a", "b", "word " * 1000, "d"]))
    assert len(found[0].text) == 301
    assert found[0].text.endswith("…")


def test_no_examples_are_taken_where_none_are_wanted(tmp_path):
    for data in (texts(["secret"] * 4), pictures(tmp_path)):
        found = worst_mistakes(TRUE, SAID, SURE, data, examples=False)
        assert [m.row for m in found] == [2, 1]
        assert {(m.shown, m.text, m.picture) for m in found} == {("", "", b"")}


def test_pictures_are_small(tmp_path):
    first, second = worst_mistakes(TRUE, SAID, SURE, pictures(tmp_path))
    assert (first.file, first.shown) == ("photo 2.png", "picture")
    assert Pictures.open(io.BytesIO(first.picture)).size == (96, 48)
    assert Pictures.open(io.BytesIO(second.picture)).format == "JPEG"
    assert len(first.picture) < 10_000
    assert Pictures.open(io.BytesIO(thumbnail(Pictures.new("RGB", (28, 28))))).size == (28, 28)


@pytest.fixture
def report(tmp_path):
    found = worst_mistakes(TRUE, SAID, SURE, pictures(tmp_path))
    words = Mistake(3, "<b>calm</b>", "angry", 0.876, shown="text", text="<script>said</script> so")
    return classified("image", 2, mistakes=(*found, words))


def test_the_page_shows_them(report):
    page = html_report(report)
    shown = re.findall(r'<img src="data:image/jpeg;base64,([^"]*)" alt="Test row (\d)">', page)
    assert [(base64.b64decode(data), int(row)) for data, row in shown] == [
        (m.picture, m.row) for m in report.mistakes[:2]
    ]
    assert "<strong>owl</strong> (90 %), labelled <strong>cat</strong>" in page
    assert "<q>&lt;script&gt;said&lt;/script&gt; so</q>" in page
    assert "--no_examples leaves them out" in page


def test_report_json_holds_nothing_of_the_rows(report, tmp_path):
    write_report(tmp_path, report)
    text = (tmp_path / "report.json").read_text()
    assert "said" not in text
    assert '"picture":' not in text
    back = read_report(tmp_path / "report.json").mistakes
    assert back == tuple(replace(m, text="", picture=b"") for m in report.mistakes)
    assert [m.shown for m in back] == ["picture", "picture", "text"]


def test_twenty_of_them_keep_the_page_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    one = Mistake(0, "cat", "owl", 0.9, shown="picture", picture=thumbnail(Pictures.fromarray(noise)))
    assert len(html_report(classified("image", 2, mistakes=(one,) * 20)).encode()) < 1_000_000
