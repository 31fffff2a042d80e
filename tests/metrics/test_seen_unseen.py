"""Seen and unseen classes side by side."""

import evaluate
import numpy as np
import pytest
from transformers import EvalPrediction

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.metrics import (
    SeenUnseen,
    harmonic_mean,
    per_class_accuracy,
    seen_unseen_accuracies,
    seen_unseen_curve,
    seen_unseen_metrics,
    stacked,
)

SEEN = [True, True, False]


def test_classes_count_alike_whatever_their_rows():
    assert per_class_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 2, 0])) == pytest.approx((2 / 3 + 0) / 2)
    assert harmonic_mean(0.5, 0.25) == pytest.approx(1 / 3)
    assert harmonic_mean(0.0, 0.0) == 0.0
    with pytest.raises(DataError, match="no row to be right about"):
        per_class_accuracy(np.array([]), np.array([]))


def test_the_curve_is_what_every_gamma_gives():
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(size=(60, 5)), generator.integers(0, 5, 60)
    seen = np.array([True, True, True, False, False])
    curve = seen_unseen_curve(scores, labels, seen)
    for gamma, of_seen, of_unseen in zip(curve.gammas, curve.seen, curve.unseen, strict=True):
        said = stacked(scores, seen, gamma).argmax(axis=1)
        rows = seen[labels]
        assert of_seen == pytest.approx(per_class_accuracy(labels[rows], said[rows]))
        assert of_unseen == pytest.approx(per_class_accuracy(labels[~rows], said[~rows]))
    assert list(curve.gammas) == sorted(curve.gammas)
    assert curve.unseen[0] == 0.0
    assert curve.seen[-1] == 0.0
    means = [harmonic_mean(s, u) for s, u in zip(curve.seen, curve.unseen, strict=True)]
    assert means[curve.best] == max(means)


def test_a_perfect_and_a_blind_network_have_areas_of_one_and_of_chance():
    labels = np.array([0, 1, 2, 2])
    perfect = seen_unseen_curve(10.0 * np.eye(3)[labels], labels, SEEN)
    assert perfect.area == pytest.approx(1.0)
    wrong = seen_unseen_curve(-10.0 * np.eye(3)[labels], labels, SEEN)
    assert wrong.area == pytest.approx(0.0)
    with pytest.raises(DataError, match="needs rows of seen and of unseen classes"):
        seen_unseen_curve(np.eye(3), np.array([0, 1, 1]), SEEN)


def test_the_metric_by_hand_for_evaluate_and_for_trainer():
    scores = np.array([[3, 1, 0, 0], [0, 2, 3, 0], [2, 0, 1, 0], [0, 0, 0, 1], [3, 0, 0, 1]], dtype=float)
    labels, seen = np.array([0, 1, 2, 3, 3]), [True, True, False, False]
    found = SeenUnseen().compute(predictions=scores, references=labels, seen=seen)
    # Class 2 is named among 2 and 3; of class 3 both rows. Among all, class 0 is right, 1 is not; 2 is not, 3 half.
    assert found["unseen_accuracy"] == 1.0
    assert found["generalised_seen_accuracy"] == 0.5
    assert found["generalised_unseen_accuracy"] == 0.25
    assert found["harmonic_mean"] == pytest.approx(1 / 3)
    assert found["ausuc"] == seen_unseen_curve(scores, labels, seen).area
    lowered = SeenUnseen().compute(predictions=scores, references=labels, seen=seen, gamma=1.5)
    assert lowered["generalised_unseen_accuracy"] == 0.75
    assert {**lowered, "ausuc": 0} != {**found, "ausuc": 0}
    assert lowered["ausuc"] == found["ausuc"]
    assert seen_unseen_metrics(seen)(EvalPrediction((scores, None), labels)) == found
    parts = evaluate.combine([SeenUnseen()])
    parts.add_batch(predictions=scores[:2], references=labels[:2])
    parts.add_batch(predictions=scores[2:], references=labels[2:])
    assert parts.compute(seen=seen) == found


def test_rows_of_one_kind_give_what_they_can():
    scores = np.eye(3)
    assert set(seen_unseen_accuracies(scores[2:], np.array([2]), SEEN)) == {
        "unseen_accuracy", "generalised_unseen_accuracy",
    }  # fmt: skip
    assert set(seen_unseen_accuracies(scores[:2], np.array([0, 1]), SEEN)) == {"generalised_seen_accuracy"}
    assert seen_unseen_accuracies(scores, np.arange(3), [False] * 3) == {"unseen_accuracy": 1.0}
    with pytest.raises(DataError, match=r"shape \(3, 3\) and seen \(2,\)"):
        seen_unseen_accuracies(scores, np.arange(3), [True, False])
