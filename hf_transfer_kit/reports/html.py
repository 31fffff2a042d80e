"""The report as one self-contained page."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.environment import TemplateModule
from markupsafe import Markup

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.metrics.words import FRACTIONS
from hf_transfer_kit.reports.escaping import mapped, plain_code, plain_text
from hf_transfer_kit.reports.filters import FILTERS
from hf_transfer_kit.reports.pictures import confusion_picture
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import Section, folders, sections_of
from hf_transfer_kit.reports.tables import with_labels
from hf_transfer_kit.reports.verdicts import all_verdicts


@checked_arguments()
def write_report(output_dir: str | Path, report: TransferReport) -> None:
    """Writes report.html and report.json into ``output_dir``, in this order.

    Example:
        >>> write_report(".", report)
        >>> import os
        >>> sorted(os.listdir())
        ['report.html', 'report.json']
    """
    folder = Path(output_dir)
    (folder / "report.html").write_text(html_report(report), encoding="utf-8")
    text = json.dumps(_strict(report.to_json()), indent=2, ensure_ascii=False, default=str, allow_nan=False)
    # A lone surrogate of a name is no UTF-8; with a backslash it is as JSON writes it.
    (folder / "report.json").write_bytes((text + "\n").encode("utf-8", "backslashreplace"))


def _strict(value: Any) -> Any:
    """Plain data without numbers that JSON does not have: what is not finite is not known (null)."""
    if isinstance(value, Mapping):
        return {name: _strict(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def html_report(report: TransferReport) -> str:
    """The page: no resource from outside, readable on a phone and in dark mode; names are text, whatever they hold.

    Example:
        >>> "<html" in html_report(report)
        True
    """
    report = replace(mapped(report, plain_text), command=plain_code(report.command))
    environment = _environment(folders())
    confusion = report.confusion
    parts = [_part(environment, report, section, found) for section, found in sections_of(report)]
    page = environment.get_template("templates/report.html.jinja").render(
        report=report,
        parts=parts,
        summary=_first(parts, "summary"),
        data=_first(parts, "data"),
        outcome=report.verdict.outcome
        if report.verdict
        else next((part.words["outcome"] for part in parts if "outcome" in part.words), ""),
        verdict_told=any(part.section.tells_verdict for part in parts),
        repeated=parts[0].section.repeated if parts else "seed",
        saved=bool(report.metrics) or any(part.section.leaves_model for part in parts),
        pictures=_drawn(
            lambda narrow: {"confusion": confusion_picture(confusion, narrow=narrow) if confusion else None}
        ),
        verdicts=all_verdicts(report),
    )
    return with_labels(page)


@dataclass(frozen=True)
class _Part:
    """A section as one page has it: its words, and its template with them."""

    section: Section
    words: Mapping[str, Any]
    template: TemplateModule

    def html(self, name: str) -> str:
        """What the macro of this name gives; empty where the template has none, or it says nothing."""
        macro = getattr(self.template, name, None)
        text: str = macro() if macro else ""
        return text if text.strip() else ""


def _part(environment: Environment, report: TransferReport, section: Section, found: Any) -> _Part:
    words = section.words(report, found)
    pictures = _drawn(lambda narrow: section.pictures(report, found, narrow))
    given = {"report": report, "found": found, "words": words, "pictures": pictures}
    return _Part(section, words, environment.get_template(section.page).make_module(given))


def _first(parts: Sequence[_Part], name: str) -> str:
    return next(filter(None, (part.html(name) for part in parts)), "")


_SHORT_WORD = 16
"""Letters of a word that a cell of a table does not break."""


@cache
def _environment(paths: tuple[str, ...]) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(paths), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    environment.filters["width_of_words"] = _width_of_words
    environment.filters["points"] = lambda value: f"{100 * value:+.1f}"
    environment.globals["picture"] = _shown
    environment.tests["fraction"] = FRACTIONS.__contains__
    return environment


def _width_of_words(text: str) -> int:
    """Letters of the longest word, which a cell of a table gives room; of one that is longer it may break any."""
    return min(_SHORT_WORD, max(map(len, text.split()), default=0))


@dataclass(frozen=True)
class _Picture:
    """Addresses of a picture as a page has room for it, and as a phone has."""

    wide: str
    narrow: str


def _drawn(pictures: Callable[[bool], Mapping[str, str | None]]) -> dict[str, _Picture]:
    """What there is to draw, for both."""
    wide, narrow = pictures(False), pictures(True)
    return {name: _Picture(_inline(svg), _inline(narrow[name] or svg)) for name, svg in wide.items() if svg}


def _shown(picture: _Picture, caller: Callable[[], Markup]) -> Markup:
    """An <img>, and what a phone shows in its place; what it shows in words is between {% call %} and {% endcall %}."""
    return Markup(
        f'<picture><source media="(max-width: 640px)" srcset="{picture.narrow}">'
        f'<img src="{picture.wide}" alt="{caller()}"></picture>'
    )


def _inline(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
