"""What a run found, as plain data: report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hf_transfer_kit.values import (
    Adaptation,
    AdaptationPoint,
    AdaptationResult,
    Advice,
    AttributeFigure,
    CaseMeasures,
    CasePoint,
    ConfusionTable,
    CurvePoint,
    DepthResult,
    DepthSearch,
    Diagnosis,
    FeatureMap,
    Generalisation,
    GeneralisationResult,
    Growing,
    LabelShift,
    MultiTasking,
    MultiTaskResult,
    RankedSource,
    Recommendation,
    Score,
    ScoreAgreement,
    SeenUnseenLine,
    SourceRanking,
    SourceResult,
    StrategyOutlook,
    StrategyResult,
    SuspectedLabel,
    TaskDescription,
    TaskFigure,
    UnknownRows,
    UnseenClasses,
    UnseenFigures,
    Verdict,
    ZeroShotResult,
)

_LIBRARIES = ("hf_transfer_kit", "torch", "transformers", "datasets", "accelerate", "timm", "scikit-learn")


@dataclass(frozen=True)
class TransferReport:
    """A run's findings. The first ten fields are the contract of report.json that every recipe keeps.

    Args:
        recipe: What was done, such as ``"transfer"``.
        metrics: Metric name -> value on the test split, fractions in [0, 1].
        baselines: Strategy -> the same.
        plan: The chosen settings.
        layer_groups: Rows of ``LayerGroups.rows()``.
        data: Sizes, classes, fingerprints.
        seconds: Wall time by phase, ``total`` among them.
        versions: Library -> version.
        seed: The first seed.
        command: The command that reproduces the run.
        title: For people.
        model_name: The pretrained network.
        dataset_name: The target data.
        results: One entry a strategy.
        winner: The chosen strategy, or the chosen method of adaptation.
        verdict: Whether transfer helped.
        confusion: Of the saved model on the test split.
        budget: What each run spent.
        notes: Warnings and limits for people.
        depth_searches: How many layers to freeze, where that was searched for.
        adaptation: What methods of adaptation reached, where the target was learnt without its labels.
        generalisation: What methods for several sources reached on domains that they never saw.
        multitasking: What several tasks on one trunk reached.
        zero_shot: How classes never seen were named.
        advice: What is advised before anything is trained.
        other_sources: What other pretrained networks reached under the same budget.
        suspected: Training rows whose label the others contradict, where a probe was fitted.
        growing: What is left of the classes that a network came with, where it learned more beside them.
        watt_hours: What the machine counted of the processor's energy; None where it does not count.
    """

    recipe: str
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    plan: Mapping[str, Any] | None
    layer_groups: list[dict[str, Any]] | None
    data: Mapping[str, Any]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    seed: int
    command: str
    title: str = ""
    model_name: str = ""
    dataset_name: str = ""
    results: tuple[StrategyResult, ...] = ()
    winner: str | None = None
    verdict: Verdict | None = None
    confusion: ConfusionTable | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    depth_searches: tuple[DepthSearch, ...] = ()
    adaptation: Adaptation | None = None
    multitasking: MultiTasking | None = None
    zero_shot: UnseenClasses | None = None
    advice: Advice | None = None
    other_sources: tuple[SourceResult, ...] = ()
    watt_hours: float | None = None
    suspected: tuple[SuspectedLabel, ...] = ()
    generalisation: Generalisation | None = None
    growing: Growing | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        return asdict(self)


def read_report(path: str | Path) -> TransferReport:
    """Reads a report.json back."""
    values = json.loads(Path(path).read_text())
    values["results"] = tuple(_result(result) for result in values["results"])
    values["verdict"] = Verdict(**values["verdict"]) if values["verdict"] else None
    values["confusion"] = _confusion(values["confusion"])
    values["notes"] = tuple(values["notes"])
    values["depth_searches"] = tuple(_depth_search(search) for search in values.get("depth_searches", ()))
    adaptation = values.get("adaptation")
    values["adaptation"] = _adaptation(adaptation) if adaptation else None
    several = values.get("generalisation")
    values["generalisation"] = _generalisation(several) if several else None
    multitasking = values.get("multitasking")
    values["multitasking"] = _multitasking(multitasking) if multitasking else None
    unseen = values.get("zero_shot")
    values["zero_shot"] = _unseen_classes(unseen) if unseen else None
    values["advice"] = _advice(values["advice"]) if values.get("advice") else None
    values["suspected"] = _suspected(values)
    values["growing"] = _growing(values["growing"]) if values.get("growing") else None
    values["other_sources"] = tuple(_source(source) for source in values.get("other_sources", ()))
    return TransferReport(**values)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _result(values: dict[str, Any]) -> StrategyResult:
    values = dict(values)
    values["seeds"] = tuple(values["seeds"])
    values["curve"] = tuple(CurvePoint(**point) for point in values["curve"])
    return StrategyResult(**{**values, **_interval(values)})


def _interval(values: dict[str, Any]) -> dict[str, Any]:
    """The field as a tuple; reports of older versions have none."""
    interval = values.get("test_interval")
    return {"test_interval": tuple(interval) if interval else None}


def _source(values: dict[str, Any]) -> SourceResult:
    return SourceResult(values["source"], _result(values["result"]), Verdict(**values["verdict"]))


def _depth_search(values: dict[str, Any]) -> DepthSearch:
    results = tuple(DepthResult(**{**result, "seeds": tuple(result["seeds"])}) for result in values["results"])
    return DepthSearch(**{**values, "results": results, "notes": tuple(values["notes"])})


def _adaptation(values: dict[str, Any]) -> Adaptation:
    return Adaptation(
        **{
            **values,
            "results": tuple(_adaptation_result(result) for result in values["results"]),
            "agreements": tuple(ScoreAgreement(**agreement) for agreement in values["agreements"]),
            "feature_maps": tuple(_feature_map(found) for found in values["feature_maps"]),
            "label_shift": _label_shift(values.get("label_shift")),
            "unknown_rows": _unknown_rows(values.get("unknown_rows")),
        }
    )


def _adaptation_result(values: dict[str, Any]) -> AdaptationResult:
    return AdaptationResult(
        **{
            **values,
            **{name: tuple(values[name]) for name in ("seeds", "test_by_seed", "kept_steps", "log")},
            **_interval(values),
            "points": tuple(AdaptationPoint(**point) for point in values["points"]),
            "diagnoses": tuple(Diagnosis(**diagnosis) for diagnosis in values["diagnoses"]),
        }
    )


def _label_shift(values: dict[str, Any] | None) -> LabelShift | None:
    return (
        LabelShift(**{**values, **{k: tuple(values[k]) for k in ("classes", "source", "target")}}) if values else None
    )


def _unknown_rows(values: dict[str, Any] | None) -> UnknownRows | None:
    return UnknownRows(**{**values, "held_out": tuple(values["held_out"])}) if values else None


def _feature_map(values: dict[str, Any]) -> FeatureMap:
    points = tuple((x, y) for x, y in values["points"])
    return FeatureMap(**{**values, "points": points, **{k: tuple(values[k]) for k in ("is_target", "classes")}})


def _generalisation(values: dict[str, Any]) -> Generalisation:
    def result(found: dict[str, Any]) -> GeneralisationResult:
        by_seed = {k: {name: tuple(v) for name, v in found[k].items()} for k in ("left_out", "in_domain")}
        return GeneralisationResult(**{**found, **by_seed, "seeds": tuple(found["seeds"])})

    interval = values["unseen_interval"]
    return Generalisation(
        **{
            **values,
            **{name: tuple(values[name]) for name in ("sources", "unseen", "alike", "log")},
            "results": tuple(result(found) for found in values["results"]),
            "known": {name: tuple(accuracies) for name, accuracies in values["known"].items()},
            "unseen_interval": tuple(interval) if interval else None,
        }
    )


def _multitasking(values: dict[str, Any]) -> MultiTasking:
    return MultiTasking(
        **{
            **values,
            "tasks": tuple(TaskDescription(**task) for task in values["tasks"]),
            "results": tuple(_multitask_result(result) for result in values["results"]),
            "before": _task_figure(values["before"]) if values["before"] else None,
        }
    )


def _multitask_result(values: dict[str, Any]) -> MultiTaskResult:
    matrix = values["affinity"]
    return MultiTaskResult(
        **{
            **values,
            **{name: tuple(values[name]) for name in ("seeds", "delta_m_by_seed", "forgetting_by_seed", "log")},
            "figures": {task: _task_figure(figure) for task, figure in values["figures"].items()},
            "affinity": None if matrix is None else tuple(tuple(row) for row in matrix),
        }
    )


def _task_figure(values: dict[str, Any]) -> TaskFigure:
    return TaskFigure(**{**values, "by_seed": tuple(values["by_seed"])})


def _confusion(values: dict[str, Any] | None) -> ConfusionTable | None:
    return ConfusionTable(tuple(values["labels"]), _rows(values["counts"])) if values else None


def _unseen_classes(values: dict[str, Any]) -> UnseenClasses:
    lists = ("classes", "attributes", "labelled", "explanations", "findings")
    return UnseenClasses(
        **{
            **values,
            **{name: tuple(values[name]) for name in lists},
            "values": _rows(values["values"]),
            "unseen": _rows(values["unseen"]),
            "results": tuple(_zero_shot_result(result) for result in values["results"]),
            "lines": tuple(
                SeenUnseenLine(**{**line, **{name: tuple(line[name]) for name in ("seen", "unseen", "point")}})
                for line in values["lines"]
            ),
            "confusion": _confusion(values["confusion"]),
            "attribute_figures": tuple(AttributeFigure(**figure) for figure in values["attribute_figures"]),
        }
    )


def _zero_shot_result(values: dict[str, Any]) -> ZeroShotResult:
    return ZeroShotResult(**{**values, "splits": tuple(UnseenFigures(**split) for split in values["splits"])})


def _growing(values: dict[str, Any]) -> Growing:
    lists = ("old_classes", "new_classes", "kept_by")
    return Growing(**{**values, **{name: tuple(values[name]) for name in lists}})


def _advice(values: dict[str, Any]) -> Advice:
    plan, ranking = values["recommendation"], values["ranking"]
    recommendation = Recommendation(
        **{
            **plan,
            **{name: tuple(plan[name]) for name in ("reasons", "would_change", "near_cases")},
            "outlook": tuple(StrategyOutlook(**entry) for entry in plan["outlook"]),
            "measures": CaseMeasures(**{**plan["measures"], "suspected": _suspected(plan["measures"])}),
        }
    )
    points = tuple(CasePoint(**point) for point in values["cases"])
    ranked = _ranking(ranking) if ranking else None
    return Advice(**{**values, "recommendation": recommendation, "cases": points, "ranking": ranked})


def _ranking(values: dict[str, Any]) -> SourceRanking:
    def scored(source: dict[str, Any]) -> RankedSource:
        scores = {name: Score(**score) for name, score in source["scores"].items()}
        return RankedSource(**{**source, "score": Score(**source["score"]), "scores": scores})

    return SourceRanking(**{**values, "sources": tuple(scored(source) for source in values["sources"])})


def _suspected(values: dict[str, Any]) -> tuple[SuspectedLabel, ...]:
    return tuple(SuspectedLabel(**found) for found in values.get("suspected", ()))


def _rows(values: list[list[Any]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(row) for row in values)
