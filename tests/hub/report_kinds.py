"""A made-up report of every recipe, and the same with other names in it."""

from __future__ import annotations

import re
from dataclasses import replace

from hub.sharing_cases import classified
from reports import adaptation_case, generalisation_case, multitask_case, zero_shot_case

from hf_transfer_kit.reports import TransferReport
from hf_transfer_kit.reports.escaping import mapped
from hf_transfer_kit.values import (
    Advice,
    CaseMeasures,
    CasePoint,
    ConfusionTable,
    CurvePoint,
    DepthResult,
    DepthSearch,
    Growing,
    Mistake,
    Recommendation,
    SourceResult,
    StrategyOutlook,
    StrategyTrial,
    SuspectedLabel,
    Trials,
    Verdict,
)

# Words of the cases below that stand for names of classes, tasks, data, attributes, networks and methods.
_NAMES = re.compile(
    r"(?<![A-Za-z])(?:cat|owl|mnist|net|birds|base|rival|photo|sketch|topic|score|news|zebra|ant|stripes|beasts|mine)(?![A-Za-z])"
)


def named(report: TransferReport, *names: str) -> TransferReport:
    """The report with its names followed by these, each by another where there are several."""
    words = list(dict.fromkeys(re.findall(r"\w+", _NAMES.pattern.partition("(?:")[2])))
    return mapped(report, lambda text: _NAMES.sub(lambda at: at[0] + names[words.index(at[0]) % len(names)], text))


def transfer() -> TransferReport:
    report = classified("image", 2)
    curve = (CurvePoint(5, 1.0, 0.9, 0.5), CurvePoint(10, 0.5, 0.7, 0.6))
    results = tuple(replace(result, curve=curve) for result in report.results)
    mine = replace(results[0], strategy="mine", summary="What mine does.")
    against = Verdict("full", "rival", -0.2, -0.3, -0.1, 0.95, "hurt", "rival is better than net.")
    return replace(
        report,
        data={**report.data, "classes": ["cat", "owl"]},
        results=(mine, *results),
        winner="mine",
        verdict=replace(report.verdict, winner="mine", sentence="Transfer from base to birds helped."),
        confusion=ConfusionTable(("cat", "owl"), ((3, 1), (0, 4))),
        other_sources=(SourceResult("rival", results[1], against),),
        mistakes=(Mistake(3, "cat", "owl", 0.9, "cat 3.png", shown="text", text="A cat and an owl."),),
        suspected=(SuspectedLabel(7, "cat", "owl", 1.5, "cat 7.png"),),
        growing=Growing(("cat",), ("owl",), ("replay of cat",), 0.8, 0.9, 0.9, 0.8, 0.1, 5, 5, {"cat": 3}),
        notes=("Rows of cat are few.",),
    )


def depth() -> TransferReport:
    results = tuple(
        DepthResult(
            depth=depth, group="net block", strategy=f"freeze_first:k={depth}", rung=1, steps=9, seeds=(0,),
            accuracy=0.5, error=0.02, test_accuracy=0.5, seconds=2.0, cost=1.0, trainable_parameters=10, cached=False,
        )
        for depth in range(3)
    )  # fmt: skip
    seconds = {"total": 12.0, "caching": 1.0, "training": 10.0}
    search = DepthSearch(1, "freeze_first:k=1", "first", results, seconds, "Freeze 1 of net.", ("birds were slow.",))
    return replace(transfer(), results=(), winner=None, verdict=None, other_sources=(), depth_searches=(search,))


def advice() -> TransferReport:
    suspected = (SuspectedLabel(7, "cat", "owl", 1.5, "cat 7.png"),)
    measures = CaseMeasures(90, 3, 20, 100, "image", 90, 0.8, 0.7, 0.5, suspected=suspected)
    outlook = (StrategyOutlook("full", 0.0, 0.01), StrategyOutlook("mine", -0.1, 0.02))
    tried = Trials((StrategyTrial("full", 0.8, 0.06, 2.0), StrategyTrial("mine", 0.7, 0.07, 3.0)), 5, 40, 0.25, outlook)
    found = Recommendation(
        "full", "small, similar", {"strategy": "full"}, ("net knows birds.",), 0.6, ("More rows of cat.",), outlook,
        measures, ({"source": "base", "target": "birds", "rows": 30, "rows_per_class": 10.0, "full": 0.5, "mine": 0.4},),
        tried,
    )  # fmt: skip
    cases = (CasePoint("base on birds", 30.0, 0.2, "full"), CasePoint("rival on birds", 40.0, 0.1, "mine"))
    shown = Advice(found, 60.0, 0.1, cases, 0.6, {"advice": 0.02, "full": 0.03})
    plain = replace(transfer(), results=(), winner=None, verdict=None, other_sources=(), growing=None, confusion=None)
    return replace(plain, recipe="advise", metrics={}, advice=shown, suspected=suspected)


def unfinished(**at: object) -> TransferReport:
    report = replace(transfer(), results=(), verdict=None, other_sources=(), metrics={}, growing=None, confusion=None)
    evaluations = [{"step": 2, "accuracy": 0.5, "cat_accuracy": 0.4}]
    return replace(
        report, data={**report.data, "unfinished": {"step": 2, "max_steps": 4, "evaluations": evaluations, **at}}
    )


def race() -> TransferReport:
    done = [{"name": "mine", "figures": {"accuracy": 0.5, "topic accuracy": 0.4}}]
    return unfinished(planned=["mine", "full"], done=done, running="mine, seed 0")


def multitask() -> TransferReport:
    report = multitask_case.report_of(multitask_case.multitasking())
    return replace(report, notes=("topic: rows are few.",))


CARDS = {
    "transfer": transfer,
    "adaptation": lambda: adaptation_case.report_of(adaptation_case.adaptation()),
    "generalisation": lambda: generalisation_case.report_of(generalisation_case.generalisation()),
    "multitask": multitask,
    "zero_shot": lambda: zero_shot_case.report_of(zero_shot_case.unseen_classes()),
    "unfinished": unfinished,
    "race": race,
}
PAGES = {**CARDS, "depth": depth, "advice": advice}
