"""Small frozen values that rooms hand to each other; nothing here imports another room."""

from hf_transfer_kit.values.adaptation import (
    Adaptation,
    AdaptationPoint,
    AdaptationResult,
    Diagnosis,
    FeatureMap,
    ScoreAgreement,
)
from hf_transfer_kit.values.depths import DepthResult, DepthSearch
from hf_transfer_kit.values.layers import MODALITIES, LayerGroup, LayerGroups
from hf_transfer_kit.values.multitasking import MultiTasking, MultiTaskResult, TaskDescription, TaskFigure
from hf_transfer_kit.values.results import ConfusionTable, CurvePoint, RateCurve, StrategyResult, Verdict

__all__ = [
    "MODALITIES",
    "Adaptation",
    "AdaptationPoint",
    "AdaptationResult",
    "ConfusionTable",
    "CurvePoint",
    "DepthResult",
    "DepthSearch",
    "Diagnosis",
    "FeatureMap",
    "LayerGroup",
    "LayerGroups",
    "MultiTaskResult",
    "MultiTasking",
    "RateCurve",
    "ScoreAgreement",
    "StrategyResult",
    "TaskDescription",
    "TaskFigure",
    "Verdict",
]
