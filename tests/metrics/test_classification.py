import evaluate
import numpy as np
import pytest
from transformers import EvalPrediction

from hf_transfer_kit.metrics import Accuracy, ConfusionMatrix, MacroF1, TopKAccuracy, classification_metrics

TRUE, PREDICTED = [0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0]


def test_values_by_hand():
    assert Accuracy().compute(predictions=PREDICTED, references=TRUE) == {"accuracy": pytest.approx(4 / 6)}
    f1 = np.mean([1 / 2, 4 / 5, 2 / 3])
    assert MacroF1().compute(predictions=PREDICTED, references=TRUE) == {"macro_f1": pytest.approx(f1)}
    counts = ConfusionMatrix().compute(predictions=PREDICTED, references=TRUE, num_labels=3)
    assert counts == {"confusion_matrix": [[1, 1, 0], [0, 2, 0], [1, 0, 1]]}


@pytest.mark.parametrize(("k", "share"), [(1, 1 / 3), (2, 2 / 3), (3, 1.0)])
def test_top_k_by_hand(k, share):
    scores = [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]
    assert TopKAccuracy().compute(predictions=scores, references=[0, 1, 2], k=k)["top_k_accuracy"] == pytest.approx(
        share
    )


def test_constant_scores_earn_nothing():
    assert TopKAccuracy().compute(predictions=[[1.0, 1.0, 1.0]], references=[0], k=1)["top_k_accuracy"] == 0


def test_parts_equal_the_whole_and_metrics_combine():
    both = evaluate.combine([Accuracy(), MacroF1()])
    for start in range(0, 6, 2):
        both.add_batch(predictions=PREDICTED[start : start + 2], references=TRUE[start : start + 2])
    whole = evaluate.combine([Accuracy(), MacroF1()]).compute(predictions=PREDICTED, references=TRUE)
    assert both.compute() == whole


def test_compute_metrics_for_trainer():
    logits = np.eye(3)[PREDICTED]
    compute = classification_metrics(["a", "b", "c"], top_k=2)
    values = compute(EvalPrediction((logits, np.zeros(3)), np.array(TRUE)))
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert set(values) == {"accuracy", "balanced_accuracy", "macro_f1", "top_k_accuracy"}


def test_ignored_tokens_do_not_count():
    logits = np.eye(2)[[[0, 1], [1, 1]]]
    values = classification_metrics(["a", "b"])(EvalPrediction(logits, np.array([[0, -100], [0, 1]])))
    assert values["accuracy"] == pytest.approx(2 / 3)
