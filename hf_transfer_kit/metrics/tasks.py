"""The metrics of each type of task as Trainer's ``compute_metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import EvalPrediction
from transformers.trainer_utils import PredictionOutput

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.metrics.computing import IGNORED, classification_metrics
from hf_transfer_kit.metrics.entities import EntityF1
from hf_transfer_kit.metrics.regression import MeanSquaredError, Pearson, Spearman
from hf_transfer_kit.metrics.row_metrics import (
    RowMetric,
    class_metric,
    counts_metric,
    entity_metric,
    mean_metric,
    mean_of,
    number_metric,
    transcript_metric,
)
from hf_transfer_kit.metrics.transcripts import ErrorRate, collapsed
from hf_transfer_kit.near_names import did_you_mean

_OF_NUMBERS = ("spearman", "pearson", "mse")


@dataclass(frozen=True)
class TaskMetrics:
    """How predictions of a task are judged.

    Args:
        compute: Trainer's ``compute_metrics``.
        names: What it gives; the first is the main one.
        said: Logits of all rows -> what they say, all that the metrics ask of them: classes of shape (rows,) or
            (rows, T), whether each class holds (rows, C), numbers (rows, C), or the likeliest path (rows, T).
        by_row: One of ``names``, what was said and the labels -> the metric as a function of how often rows count.
    """

    compute: Callable[[EvalPrediction], dict[str, float]]
    names: tuple[str, ...]
    said: Callable[[np.ndarray], np.ndarray]
    by_row: Callable[[str, np.ndarray, np.ndarray], RowMetric]

    @property
    def main(self) -> str:
        """The metric that tells how well the task is done."""
        return self.names[0]


def task_metrics(task_type: str, label_names: Sequence[str] = (), *, blank: int = 0) -> TaskMetrics:
    """Metrics for a type of task; all are fractions, correlations or errors of single numbers.

    ================================ ==================================================================
    ``classification``               ``accuracy``, ``macro_f1``
    ``multi_label``                  ``f1`` over known decisions, ``accuracy`` (a row's all right); logits above 0
    ``regression``                   ``spearman``, ``pearson``, ``mse``; of several numbers their means over these, and
                                     each under the number's name too: ``spearman_width``
    ``token_classification``         ``f1`` over entities where names are B-, I- and O, else ``macro_f1``; ``accuracy``
    ``ctc``                          ``error_rate`` by symbol (character error rate), ``accuracy`` of whole
                                     transcripts, where a symbol is a space ``word_error_rate``; the likeliest path
    ================================ ==================================================================

    Args:
        task_type: Which.
        label_names: Names of the classes.
        blank: Index of the blank, for ``ctc``.

    Raises:
        SettingsError: When the type is unknown.

    Example:
        >>> task_metrics("regression").names
        ('spearman', 'pearson', 'mse')
    """
    makers: Mapping[str, Callable[[], TaskMetrics]] = {
        "classification": lambda: TaskMetrics(
            classification_metrics(label_names), ("accuracy", "macro_f1", "balanced_accuracy"), _likeliest, class_metric
        ),
        "multi_label": lambda: TaskMetrics(
            _several_classes, ("f1", "accuracy"), lambda logits: logits > 0, _several_by_row
        ),
        "regression": lambda: _numbers(label_names),
        "token_classification": lambda: _words(label_names),
        "ctc": lambda: _transcripts(label_names, blank),
    }
    if task_type not in makers:
        raise SettingsError(
            f"There is no type of task {task_type!r}; choose {', '.join(makers)}.{did_you_mean(task_type, makers)}"
        )
    return makers[task_type]()


def logits_of(prediction: EvalPrediction | PredictionOutput) -> np.ndarray:
    """The logits, which may stand first among other outputs."""
    found = prediction.predictions
    return np.asarray(found[0] if isinstance(found, tuple) else found)


def _likeliest(logits: np.ndarray) -> np.ndarray:
    return logits.argmax(axis=-1)


def _held(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which classes hold, and of which that is known, both (rows, C)."""
    labels = np.asarray(labels, dtype=np.float64)
    return labels > 0.5, np.isfinite(labels) & (labels != IGNORED)


def _several_by_row(name: str, said: np.ndarray, labels: np.ndarray) -> RowMetric:
    true, known = _held(labels)
    if name == "accuracy":
        right = ((said == true) | ~known).all(axis=1)
        return mean_metric(np.where(known.any(axis=1), right, np.nan))
    return counts_metric(name, *(part.sum(axis=1) for part in (said & true & known, said & known, true & known)))


def _several_classes(prediction: EvalPrediction) -> dict[str, float]:
    from sklearn.metrics import f1_score

    said, (true, known) = logits_of(prediction) > 0, _held(prediction.label_ids)
    some = known.any(axis=1)
    return {
        "f1": float(f1_score(true[known], said[known], zero_division=0.0)),
        "accuracy": float(((said == true) | ~known)[some].all(axis=1).mean()) if some.any() else 0.0,
    }


def _numbers(label_names: Sequence[str]) -> TaskMetrics:
    def numbers(logits: np.ndarray) -> np.ndarray:
        return logits.astype(np.float64).reshape(len(logits), -1)

    def by_row(name: str, said: np.ndarray, true: np.ndarray) -> RowMetric:
        kind, _, column = name.partition("_")
        columns = range(said.shape[1]) if not column else [list(label_names).index(column)]
        true = np.asarray(true, dtype=np.float64).reshape(said.shape)
        return mean_of([number_metric(kind, said[:, place], true[:, place]) for place in columns])

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        said = numbers(logits_of(prediction))  # (N, C)
        true = np.asarray(prediction.label_ids, dtype=np.float64).reshape(said.shape)
        # Each number by itself: between two of different sizes any prediction would correlate.
        found = [_errors(*column) for column in zip(said.T, true.T, strict=True)]
        means = {name: float(np.nanmean([one[name] for one in found])) for name in _OF_NUMBERS}
        if len(label_names) < 2:
            return means
        each = zip(label_names, found, strict=True)
        return means | {f"{metric}_{name}": value for name, one in each for metric, value in one.items()}

    more = [f"{metric}_{name}" for name in label_names for metric in _OF_NUMBERS] if len(label_names) > 1 else []
    return TaskMetrics(compute, (*_OF_NUMBERS, *more), numbers, by_row)


def _errors(said: np.ndarray, true: np.ndarray) -> dict[str, float]:
    known = ~np.isnan(true)
    if not known.any():
        return dict.fromkeys(_OF_NUMBERS, np.nan)  # this number is not known of any row
    given = {"predictions": said[known], "references": true[known]}
    return {**Spearman().compute(**given), **Pearson().compute(**given), **MeanSquaredError().compute(**given)}


def _words(label_names: Sequence[str]) -> TaskMetrics:
    by_class = classification_metrics(label_names)
    if not all(name == "O" or name[:2] in ("B-", "I-") for name in label_names):
        return TaskMetrics(by_class, ("macro_f1", "accuracy"), _likeliest, class_metric)

    def sentences(classes: Any, true: Any) -> list[list[str]]:
        kept = np.asarray(true) != IGNORED
        return [[label_names[i] for i in row[keep]] for row, keep in zip(np.asarray(classes), kept, strict=True)]

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        said, true = _likeliest(logits_of(prediction)), prediction.label_ids
        entities = EntityF1().compute(predictions=sentences(said, true), references=sentences(true, true))
        return {**entities, "accuracy": by_class(prediction)["accuracy"]}

    def by_row(name: str, said: np.ndarray, true: np.ndarray) -> RowMetric:
        if name == "accuracy":
            return class_metric(name, said, true)
        return entity_metric(name, sentences(said, true), sentences(true, true))

    return TaskMetrics(compute, ("f1", "precision", "recall", "accuracy"), _likeliest, by_row)


def _paths(logits: np.ndarray) -> np.ndarray:
    return np.where((logits == IGNORED).all(axis=-1), IGNORED, logits.argmax(axis=-1))  # Trainer's padding


def _transcripts(label_names: Sequence[str], blank: int) -> TaskMetrics:
    space = list(label_names).index(" ") if " " in label_names else None

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        paths, labels = _paths(logits_of(prediction)), np.asarray(prediction.label_ids)
        said = [collapsed(path, blank) for path in paths.tolist()]
        true = [[symbol for symbol in row if symbol >= 0] for row in labels.tolist()]
        found = ErrorRate().compute(predictions=said, references=true)
        return found | {name: by_row(name, paths, labels).observed for name in names if name not in found}

    def by_row(name: str, said: np.ndarray, true: np.ndarray) -> RowMetric:
        return transcript_metric(name, said, true, blank, space)

    names = ("error_rate", "accuracy") if space is None else ("error_rate", "word_error_rate", "accuracy")
    return TaskMetrics(compute, names, _paths, by_row)
