"""Small frozen values that rooms hand to each other; nothing here imports another room."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.values.adaptation import (
        Adaptation,
        AdaptationPoint,
        AdaptationResult,
        Diagnosis,
        FeatureMap,
        LabelShift,
        ScoreAgreement,
        UnknownRows,
    )
    from hf_transfer_kit.values.advice import (
        Advice,
        CaseMeasures,
        CasePoint,
        Recommendation,
        StrategyOutlook,
        StrategyTrial,
        SuspectedLabel,
        Trials,
    )
    from hf_transfer_kit.values.choosing import ClassDistance, DistanceBesideChance, DomainDistance
    from hf_transfer_kit.values.depths import DepthResult, DepthSearch
    from hf_transfer_kit.values.generalisation import Generalisation, GeneralisationResult
    from hf_transfer_kit.values.growing import Growing
    from hf_transfer_kit.values.layers import MODALITIES, LayerGroup, LayerGroups
    from hf_transfer_kit.values.multitasking import MultiTasking, MultiTaskResult, TaskDescription, TaskFigure
    from hf_transfer_kit.values.results import (
        ConfusionTable,
        CurvePoint,
        Elimination,
        FailedRun,
        Mistake,
        RateCurve,
        RunFigures,
        SourceResult,
        StrategyResult,
        Verdict,
    )
    from hf_transfer_kit.values.rows import Collator, KnownCollator, KnownRows, LabelledRows, MapRows
    from hf_transfer_kit.values.transferability import RankedSource, Score, SourceRanking, Transferability
    from hf_transfer_kit.values.zero_shot import (
        AttributeFigure,
        SeenUnseenLine,
        UnseenClasses,
        UnseenFigures,
        ZeroShotResult,
    )

__all__ = [
    "MODALITIES",
    "Adaptation",
    "AdaptationPoint",
    "AdaptationResult",
    "Advice",
    "AttributeFigure",
    "CaseMeasures",
    "CasePoint",
    "ClassDistance",
    "Collator",
    "ConfusionTable",
    "CurvePoint",
    "DepthResult",
    "DepthSearch",
    "Diagnosis",
    "DistanceBesideChance",
    "DomainDistance",
    "Elimination",
    "FailedRun",
    "FeatureMap",
    "Generalisation",
    "GeneralisationResult",
    "Growing",
    "KnownCollator",
    "KnownRows",
    "LabelShift",
    "LabelledRows",
    "LayerGroup",
    "LayerGroups",
    "MapRows",
    "Mistake",
    "MultiTaskResult",
    "MultiTasking",
    "RankedSource",
    "RateCurve",
    "Recommendation",
    "RunFigures",
    "Score",
    "ScoreAgreement",
    "SeenUnseenLine",
    "SourceRanking",
    "SourceResult",
    "StrategyOutlook",
    "StrategyResult",
    "StrategyTrial",
    "SuspectedLabel",
    "TaskDescription",
    "TaskFigure",
    "Transferability",
    "Trials",
    "UnknownRows",
    "UnseenClasses",
    "UnseenFigures",
    "Verdict",
    "ZeroShotResult",
]

load_when_used(__name__)
