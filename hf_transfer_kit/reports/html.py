"""The report as one self-contained page."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.metrics.words import FRACTIONS
from hf_transfer_kit.reports.adaptation_pictures import adaptation_bars, adaptation_scalars, feature_maps_picture
from hf_transfer_kit.reports.adaptation_words import adaptation_words
from hf_transfer_kit.reports.advice_pictures import outlook_picture, quadrants_picture, ranking_picture
from hf_transfer_kit.reports.advice_words import advice_sentence
from hf_transfer_kit.reports.depth_curve import depth_alt_text, depth_picture
from hf_transfer_kit.reports.escaping import mapped, plain_code, plain_text
from hf_transfer_kit.reports.filters import FILTERS
from hf_transfer_kit.reports.generalisation_pictures import left_out_picture
from hf_transfer_kit.reports.generalisation_words import generalisation_words
from hf_transfer_kit.reports.multitask_pictures import (
    affinity_picture,
    gain_bars,
    sharing_curve,
    sharing_results,
    task_losses_picture,
)
from hf_transfer_kit.reports.multitask_words import affinity_sentence, multitask_words
from hf_transfer_kit.reports.pictures import confusion_picture, learning_curves, metric_bars, svg_text
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.verdicts import all_verdicts
from hf_transfer_kit.reports.zero_shot_pictures import attribute_bars, seen_unseen_picture, table_picture, unseen_bars
from hf_transfer_kit.reports.zero_shot_words import zero_shot_words
from hf_transfer_kit.values import Adaptation, Advice, Generalisation, MultiTasking, UnseenClasses


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
    pictures = {}
    if report.results:
        pictures["bars"] = _inline(metric_bars(report.results, report.winner))
        pictures["curves"] = _inline(learning_curves(report.results))
    if report.confusion:
        pictures["confusion"] = _inline(confusion_picture(report.confusion))
    depths = [(_inline(svg_text(depth_picture(s))), depth_alt_text(s), s) for s in report.depth_searches]
    winner = next((result for result in report.results if result.strategy == report.winner), None)
    page = _environment().get_template("report.html.jinja")
    adapted = _adaptation(report) if report.adaptation else None
    tasks = _multitasking(report.multitasking) if report.multitasking else None
    unseen = _zero_shot(report.zero_shot) if report.zero_shot else None
    advised = _advice(report.advice) if report.advice else None
    several = _generalisation(report.generalisation) if report.generalisation else None
    return page.render(
        report=report,
        pictures=pictures,
        winner=winner,
        depths=depths,
        adapted=adapted,
        tasks=tasks,
        unseen=unseen,
        advised=advised,
        several=several,
        verdicts=all_verdicts(report),
        fractions=FRACTIONS,
    )


def _advice(advice: Advice) -> dict[str, Any]:
    pictures = {"outlook": outlook_picture(advice.recommendation), "quadrants": quadrants_picture(advice)}
    if advice.ranking:
        pictures["ranking"] = ranking_picture(advice.ranking)
    return {"sentence": advice_sentence(advice), "pictures": {name: _inline(svg) for name, svg in pictures.items()}}


def _adaptation(report: TransferReport) -> dict[str, Any]:
    adaptation = cast(Adaptation, report.adaptation)
    words = adaptation_words(adaptation)
    pictures = {"scalars": adaptation_scalars(words["chosen"])}
    if words["labelled"]:
        pictures["bars"] = adaptation_bars(adaptation)
    if adaptation.feature_maps:
        pictures["maps"] = feature_maps_picture(adaptation.feature_maps, report.data["classes"])
    return {
        **words,
        "pictures": {name: _inline(svg) for name, svg in pictures.items() if svg is not None},
        "logged": {name for entry in words["chosen"].log for name in entry},
    }


def _generalisation(found: Generalisation) -> dict[str, Any]:
    return {**generalisation_words(found), "picture": _inline(left_out_picture(found))}


def _multitasking(found: MultiTasking) -> dict[str, Any]:
    words = multitask_words(found)
    chosen = words["chosen"]
    sharing = sharing_results(found)
    pictures = {
        "gains": gain_bars(found, chosen),
        "losses": task_losses_picture(chosen, found.tasks),
        "sharing": sharing_curve(found),
        "affinity": affinity_picture(chosen.affinity, found.tasks) if chosen.affinity else None,
    }
    return {
        **words,
        "pictures": {name: _inline(svg) for name, svg in pictures.items() if svg is not None},
        "sharing": sharing,
        "affinity_words": affinity_sentence(chosen.affinity, found.tasks) if chosen.affinity else "",
    }


def _zero_shot(found: UnseenClasses) -> dict[str, Any]:
    pictures = {
        "bars": unseen_bars(found),
        "curve": seen_unseen_picture(found),
        "table": table_picture(found) if found.attributes else None,
        "attributes": attribute_bars(found) if found.attribute_figures else None,
        "confusion": confusion_picture(found.confusion) if found.confusion else None,
    }
    return {
        **zero_shot_words(found),
        "pictures": {name: _inline(svg) for name, svg in pictures.items() if svg is not None},
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hf_transfer_kit.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.filters["points"] = lambda value: f"{100 * value:+.1f}"
    return environment


def _inline(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
