"""Metrics of several tasks: names, what belongs to whom, and the mean relative gain."""

import numpy as np
import pytest
from transformers import EvalPrediction

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.metrics import task_metrics
from hf_transfer_kit.multitask import delta_m, multi_task_metrics


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def error(prediction):
    return {"mae": float(np.abs(prediction.predictions - prediction.label_ids).mean()), "bias": 0.0}


LOGITS = {"digit": np.eye(4), "angle": np.array([1.0, 2.0, 3.0, 4.0])}
LABELS = {"digit": np.array([0, 1, 2, 2]), "angle": np.array([1.0, 2.0, 3.0, 6.0])}
FOUND = {"digit_accuracy": 0.75, "angle_mae": 0.5, "angle_bias": 0.0}
METRICS = {"digit": accuracy, "angle": error}


def test_each_metric_has_its_task_before_its_name():
    compute = multi_task_metrics(METRICS)
    assert compute(EvalPrediction(LOGITS, LABELS)) == FOUND
    assert compute(EvalPrediction(LOGITS, tuple(LABELS.values()))) == FOUND


def test_tasks_without_predictions_are_left_out():
    prediction = EvalPrediction({"digit": LOGITS["digit"]}, {"digit": LABELS["digit"]})
    assert multi_task_metrics(METRICS)(prediction) == {"digit_accuracy": 0.75}


def test_a_single_task_needs_no_names():
    prediction = EvalPrediction(LOGITS["digit"], LABELS["digit"])
    assert multi_task_metrics({"digit": accuracy})(prediction) == {"digit_accuracy": 0.75}


def test_predictions_of_nobody_are_refused():
    with pytest.raises(DataError, match="predictions are one ndarray for 2 tasks; evaluate batches labelled for all"):
        multi_task_metrics(METRICS)(EvalPrediction(LOGITS["digit"], LABELS["digit"]))
    with pytest.raises(DataError, match="there are predictions of 'angle' but no labels; give both"):
        multi_task_metrics(METRICS)(EvalPrediction(LOGITS, {"digit": LABELS["digit"]}))
    with pytest.raises(SettingsError, match="there is no task; give one function a task"):
        multi_task_metrics({})


def test_delta_m_is_the_mean_relative_gain():
    # (0.88 - 0.80) / 0.80 = 0.1; an error that grows from 2 to 2.5 is -0.25; (0.6 - 0.5) / 0.5 = 0.2
    multi, single = {"a": 0.88, "b": 2.5, "c": 0.6}, {"c": 0.5, "b": 2.0, "a": 0.8}
    assert delta_m(multi, single, {"b"}) == pytest.approx((0.1 - 0.25 + 0.2) / 3)
    assert delta_m(single, single) == 0


def test_a_negative_baseline_does_not_turn_gains_round():
    assert delta_m({"correlation": 0.1}, {"correlation": -0.1}) == pytest.approx(2)


@pytest.mark.parametrize(
    ("multi", "single", "lower", "words"),
    [
        ({}, {}, (), "multi has the tasks none, single has none; give both the same ones"),
        ({"a": 1}, {"b": 1}, (), "multi has the tasks 'a', single has 'b'"),
        ({"a": 1}, {"a": 1}, {"b"}, r"lower_is_better={'b'} does not fit; give a set of some of 'a'"),
        ({"a": 1}, {"a": 1}, "a", "lower_is_better='a' does not fit"),
        ({"a": 1}, {"a": 0}, (), "'a' has 1 with several tasks and 0 alone; both must be finite, and the second not 0"),
        ({"a": float("nan")}, {"a": 1}, (), "'a' has nan with several tasks"),
    ],
)
def test_values_that_do_not_fit_are_refused(multi, single, lower, words):
    with pytest.raises(SettingsError, match=words):
        delta_m(multi, single, lower)


def test_decisions_that_are_not_known_do_not_count():
    logits = np.array([[2.0, -1.0, 3.0], [-1.0, 2.0, 2.0]])
    labels = np.array([[1.0, np.nan, 1.0], [0.0, 0.0, -100.0]])
    found = task_metrics("multi_label", ["a", "b", "c"]).compute(EvalPrediction(logits, labels))
    # Known: right, right; right, wrong.
    assert found["accuracy"] == pytest.approx(0.5)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1))
    numbers = task_metrics("regression").compute(EvalPrediction(logits, np.where(labels == -100, np.nan, labels)))
    assert numbers["mse"] == pytest.approx((((2 - 1) ** 2 + 1) / 2 + 4 + (3 - 1) ** 2) / 3)  # each number by itself
