"""``evaluate.Metric`` modules that need no network."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.metrics.classification import (
        Accuracy,
        BalancedAccuracy,
        ConfusionMatrix,
        MacroF1,
        TopKAccuracy,
    )
    from hf_transfer_kit.metrics.computing import classification_metrics
    from hf_transfer_kit.metrics.entities import EntityF1
    from hf_transfer_kit.metrics.regression import MeanSquaredError, Pearson, Spearman
    from hf_transfer_kit.metrics.row_metrics import RowMetric, mean_metric
    from hf_transfer_kit.metrics.seen_unseen import (
        SeenUnseen,
        SeenUnseenCurve,
        harmonic_mean,
        per_class_accuracy,
        seen_unseen_accuracies,
        seen_unseen_curve,
        seen_unseen_metrics,
        stacked,
    )
    from hf_transfer_kit.metrics.tasks import TaskMetrics, task_metrics
    from hf_transfer_kit.metrics.transcripts import ErrorRate
    from hf_transfer_kit.metrics.words import ERRORS, larger_is_better

__all__ = [
    "ERRORS",
    "Accuracy",
    "BalancedAccuracy",
    "ConfusionMatrix",
    "EntityF1",
    "ErrorRate",
    "MacroF1",
    "MeanSquaredError",
    "Pearson",
    "RowMetric",
    "SeenUnseen",
    "SeenUnseenCurve",
    "Spearman",
    "TaskMetrics",
    "TopKAccuracy",
    "classification_metrics",
    "harmonic_mean",
    "larger_is_better",
    "mean_metric",
    "per_class_accuracy",
    "seen_unseen_accuracies",
    "seen_unseen_curve",
    "seen_unseen_metrics",
    "stacked",
    "task_metrics",
]

load_when_used(__name__)
