"""Metrics of several tasks: each under its own name, and one number for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from transformers import EvalPrediction

from hf_transfer_kit.errors import DataError, SettingsError

ComputeMetrics = Callable[[EvalPrediction], Mapping[str, float]]


def multi_task_metrics(metrics: Mapping[str, ComputeMetrics]) -> Callable[[EvalPrediction], dict[str, float]]:
    """A ``compute_metrics`` for Trainer that gives ``TASK_NAME`` for every metric of every task.

    Trainer puts ``eval_`` before: ``eval_parity_accuracy``. Predictions are those of a model whose logits are a dict,
    task -> array; labels are such a dict, or a tuple in the order of ``metrics`` as Trainer collects several
    ``label_names``. With a single task plain arrays will do. Tasks without predictions are left out.

    Args:
        metrics: Task -> what would be its ``compute_metrics`` if it were alone.

    Raises:
        SettingsError: When there is no task.
        DataError: From the function returned, when predictions are not told apart by task, or a task has no labels.

    Example:
        >>> metrics = multi_task_metrics({"digit": classification_metrics(["a", "b", "c"])})
        >>> from transformers import EvalPrediction
        >>> metrics(EvalPrediction({"digit": logits}, {"digit": np.array([0, 1, 2, 0])}))["digit_accuracy"]
        1.0
    """
    if not metrics:
        raise SettingsError("multi_task_metrics: there is no task; give one function a task.")
    functions = dict(metrics)

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        predictions = _by_task(prediction.predictions, functions, "predictions")
        labels = _by_task(prediction.label_ids, functions, "labels")
        found: dict[str, float] = {}
        for task, function in functions.items():
            if task not in predictions:
                continue
            if labels.get(task) is None:
                raise DataError(f"multi_task_metrics: there are predictions of {task!r} but no labels; give both.")
            of_task = function(EvalPrediction(predictions=predictions[task], label_ids=labels[task]))
            found.update({f"{task}_{name}": value for name, value in of_task.items()})
        return found

    return compute


def delta_m(multi: Mapping[str, float], single: Mapping[str, float], lower_is_better: Collection[str] = ()) -> float:
    """1/T sum_t (-1)^l_t (M_t - S_t) / |S_t|: the mean relative gain over single-task training.

    M_t is a task's metric with several tasks, S_t alone, and l_t = 1 where lower is better (Maninis et al. 2019, CVPR,
    equation 4). With several metrics a task, give their means over the task.

    Args:
        multi: Task -> M_t.
        single: Task -> S_t, not 0; the same tasks.
        lower_is_better: Tasks whose metric is an error.

    Returns:
        A fraction: 0.02 is two per cent better on average, below 0 is negative transfer.

    Raises:
        SettingsError: When there is no task, tasks differ, one of ``lower_is_better`` is unknown, or a value does not
            fit.

    Example:
        >>> round(delta_m({"digit": 0.88, "ink": 0.09}, {"digit": 0.80, "ink": 0.10}, lower_is_better=["ink"]), 3)
        0.1
    """
    if not multi or set(multi) != set(single):
        raise SettingsError(
            f"delta_m: multi has the tasks {_words(multi)}, single has {_words(single)}; give both the same ones."
        )
    unknown = [task for task in lower_is_better if task not in multi]
    if isinstance(lower_is_better, str) or unknown:
        raise SettingsError(
            f"delta_m: lower_is_better={lower_is_better!r} does not fit; give a set of some of {_words(multi)}."
        )
    gains = []
    for task, value in multi.items():
        alone = single[task]
        if not math.isfinite(value) or not math.isfinite(alone) or alone == 0:
            raise SettingsError(
                f"delta_m: {task!r} has {value!r} with several tasks and {alone!r} alone; both must be finite, and the "
                "second not 0, for a relative gain."
            )
        sign = -1 if task in lower_is_better else 1
        gains.append(sign * (value - alone) / abs(alone))
    return sum(gains) / len(gains)


def _by_task(values: Any, functions: Mapping[str, ComputeMetrics], what: str) -> Mapping[str, Any]:
    if isinstance(values, Mapping):
        return values
    if len(functions) == 1:
        return {next(iter(functions)): values}
    if isinstance(values, tuple | list) and len(values) == len(functions):
        return dict(zip(functions, values, strict=True))
    raise DataError(
        f"multi_task_metrics: {what} are one {type(values).__name__} for {len(functions)} tasks; evaluate batches "
        "labelled for all tasks, whose logits are a dict, or each task's dataset with its own compute_metrics."
    )


def _words(tasks: Mapping[str, float]) -> str:
    return ", ".join(map(repr, tasks)) or "none"
