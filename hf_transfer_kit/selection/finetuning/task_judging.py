"""How the task of prepared data is judged in a race: by its type's own metrics, in their direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.metrics import RowMetric, TaskMetrics, larger_is_better, task_metrics


@dataclass(frozen=True)
class Judging:
    """What a task is chosen and judged by.

    Args:
        metrics: Of its type.
        metric: One of their names.
    """

    metrics: TaskMetrics
    metric: str

    @property
    def sign(self) -> int:
        """1 where a larger value of the metric is better, else -1."""
        return 1 if larger_is_better(self.metric) else -1

    def score(self, figures: Mapping[str, float]) -> tuple[float, float]:
        """What is compared, larger is better: the metric with its sign, then the loss."""
        return self.sign * figures[self.metric], -figures["loss"]

    def by_row(self, said: np.ndarray, true: np.ndarray) -> RowMetric:
        """The metric of a run as a function of how often rows count."""
        return self.metrics.by_row(self.metric, said, true)


def judging_of(data: PreparedData) -> Judging:
    """How a race on ``data`` is judged: ``data.balance.metric`` of classes, else ``data.metric`` or the type's first.

    Raises:
        SettingsError: When the type has no such metric, or no classes whose rows could be balanced.
    """
    metrics = task_metrics(data.task_type, data.label_names)
    if data.task_type == CLASSIFICATION:
        return Judging(metrics, data.balance.metric)
    if data.balance.sentence:
        raise SettingsError(
            f"class_weights, sampler and metrics of classes are for classification, but this is a task of "
            f"{data.task_type}. Leave them out."
        )
    if data.metric is not None and data.metric not in metrics.names:
        raise SettingsError(
            f"metric={data.metric!r} does not judge {data.task_type}; choose {', '.join(metrics.names)}."
        )
    return Judging(metrics, data.metric or metrics.main)
