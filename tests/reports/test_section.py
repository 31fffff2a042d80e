"""A recipe's findings stand in a folder of their own: another one needs no change anywhere else."""

from __future__ import annotations

import base64
import re
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hub.sharing_cases import classified
from reports.verdict_case import verdict

import hf_transfer_kit.hub
import hf_transfer_kit.reports
from hf_transfer_kit.hub import TransferCard
from hf_transfer_kit.hub.card_pictures import save_card_pictures
from hf_transfer_kit.reports import TransferReport, all_sections, all_verdicts, html_report, verdict_lines

SECTION = """
from hf_transfer_kit.reports.section import CardPart, CardPicture, Evaluation, Section, Usage

SECTION = Section(
    name="distilling",
    order=45,
    find=lambda report: report.data.get("distilled"),
    words=lambda report, found: {"said": f"The student keeps {found['kept']:.0%}.", "outcome": "helped"},
    pictures=lambda report, found, narrow: {"drawn": f"<svg>student {narrow}</svg>", "none": None},
    verdicts=lambda found: [found["verdict"]],
    repeated="teacher",
    card=CardPart(
        template="distilling/card.md.jinja",
        tag="distillation",
        pictures=lambda report, found: {"student": CardPicture("<svg/>", "What the student keeps")},
        results=lambda report, found: [Evaluation("image-classification", "owls", "kept", found["kept"])],
        pipeline=False,
        usage=lambda found, asked: Usage("a.module", ("print('further')",)),
        figures=lambda found: {"kept": found["kept"]},
    ),
)
"""
PAGE = """
{% macro summary() %}<p>{{ words.said }}</p>{% endmacro %}
{% macro figures() %}<div>kept <b>{{ found.kept | percent }}</b></div>{% endmacro %}
{% macro body() %}<h2>Distilling</h2>{% call picture(pictures.drawn) %}A student{% endcall %}{% if "none" in pictures %}never{% endif %}{% endmacro %}
{% macro data() %}<p>rows of {{ report.data.classes[0] }} for the student</p>{% endmacro %}
"""
CARD = '{% extends "base.md.jinja" %}{% block what %}Distilled. {{ said }}{% endblock %}'


@pytest.fixture
def sixth(tmp_path, monkeypatch):
    """A folder of a section beside those of the package."""
    folder = tmp_path / "distilling"
    folder.mkdir()
    for name, text in {
        "__init__.py": "",
        "section.py": SECTION,
        "page.html.jinja": PAGE,
        "card.md.jinja": CARD,
    }.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(hf_transfer_kit.reports, "__path__", [*hf_transfer_kit.reports.__path__, str(tmp_path)])
    yield
    for name in [name for name in sys.modules if name.startswith("hf_transfer_kit.reports.distilling")]:
        del sys.modules[name]


def distilled() -> TransferReport:
    judged = replace(verdict("student", "teacher", "helped", 0.2), sentence="The student is as good.")
    plain = classified("image", 2, results=(), winner="student", verdict=None)
    return replace(plain, data={**plain.data, "distilled": {"kept": 0.9, "verdict": judged}})


@pytest.mark.usefixtures("sixth")
def test_a_sixth_section_stands_in_the_page():
    assert [section.name for section in all_sections()][4] == "distilling"
    page = html_report(distilled())
    assert '<section class="verdict helped" aria-label="Summary">\n<p>The student keeps 90%.</p>' in page
    assert "<div>kept <b>90.0 %</b></div>" in page
    assert '<h2>Distilling</h2><picture><source media="(max-width: 640px)" srcset="data:image/svg+xml;base64,' in page
    shown = re.findall(r'"data:image/svg.xml;base64,([^"]*)"', page)
    assert [base64.b64decode(svg) for svg in shown] == [b"<svg>student True</svg>", b"<svg>student False</svg>"]
    assert 'alt="A student">' in page
    assert "never" not in page
    assert "rows of class 0 for the student" in page
    assert "<dt>Target</dt>" not in page


@pytest.mark.usefixtures("sixth")
def test_a_sixth_section_stands_in_verdicts():
    assert [each.winner for each in all_verdicts(distilled())] == ["student"]
    assert verdict_lines(distilled()) == ["The student is as good."]
    assert "over teachers" in html_report(distilled())


@pytest.mark.usefixtures("sixth")
def test_a_sixth_section_stands_in_the_card(tmp_path):
    report = distilled()
    pictures = save_card_pictures(tmp_path, report)
    assert pictures == {"pictures/student.svg": "What the student keeps"}
    card = TransferCard.from_report(report, license="mit", pictures=pictures, raw_inputs=True)
    assert "Distilled. The student keeps 90%." in card.text
    assert "import a.module  # registers" in card.text
    assert "print('further')" in card.text
    assert "scores.argmax()" in card.text
    assert "distillation" in card.data.tags
    assert card.data.pipeline_tag is None
    assert [(each.dataset_name, each.metric_type, each.metric_value) for each in card.data.eval_results] == [
        ("owls", "kept", 0.9)
    ]


def test_without_its_folder_it_is_gone():
    assert "distilling" not in [section.name for section in all_sections()]
    assert "student keeps" not in html_report(distilled())


def test_nothing_shared_names_a_recipe():
    """Of the report's fields those of one recipe stand in its own folder, and where they are declared."""
    recipes = ("adaptation", "multitasking", "zero_shot", "advice", "generalisation")
    assert set(recipes) <= {field.name for field in fields(TransferReport)}
    named = re.compile(rf"\.({'|'.join(recipes)})\b")
    reports, hub = (Path(room.__file__).parent for room in (hf_transfer_kit.reports, hf_transfer_kit.hub))
    shared = [*reports.glob("*.py"), *(reports / "templates").iterdir(), *hub.glob("*.py")]
    assert len(shared) > 30
    for path in shared:
        if path.name != "report.py":
            lines = path.read_text().splitlines()
            assert not [line for line in lines if named.search(line) and not line.lstrip().startswith("from ")], path
