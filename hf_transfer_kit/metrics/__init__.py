"""``evaluate.Metric`` modules that need no network."""

from hf_transfer_kit.metrics.classification import Accuracy, ConfusionMatrix, MacroF1, TopKAccuracy
from hf_transfer_kit.metrics.computing import classification_metrics

__all__ = ["Accuracy", "ConfusionMatrix", "MacroF1", "TopKAccuracy", "classification_metrics"]
