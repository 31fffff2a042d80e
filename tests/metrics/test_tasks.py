"""Metrics of every type of task, against values found by hand or by the libraries."""

import numpy as np
import pytest
from transformers import EvalPrediction

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.metrics import EntityF1, larger_is_better, task_metrics
from hf_transfer_kit.metrics.entities import entity_spans
from hf_transfer_kit.metrics.transcripts import collapsed, edit_distance, spelled_words


def judged(task_type, predictions, labels, names=(), **options):
    metrics = task_metrics(task_type, names, **options)
    found = metrics.compute(EvalPrediction(predictions=np.array(predictions), label_ids=np.array(labels)))
    assert set(metrics.names) <= set(found)
    return found, metrics.main


def test_numbers():
    found, main = judged("regression", [[1.0], [2.0], [4.0], [3.0]], [0.0, 1.0, 2.0, 3.0])
    assert main == "spearman"
    assert found["spearman"] == pytest.approx(0.8)
    assert found["pearson"] == pytest.approx(np.corrcoef([1, 2, 4, 3], [0, 1, 2, 3])[0, 1])
    assert found["mse"] == pytest.approx((1 + 1 + 4 + 0) / 4)
    assert judged("regression", [[1.0], [1.0]], [0.0, 1.0])[0]["spearman"] == 0.0


def test_several_classes():
    found, main = judged("multi_label", [[2.0, -1.0], [1.0, 1.0], [-1.0, -1.0]], [[1, 0], [1, 0], [0, 1]])
    assert main == "f1"
    assert found == {"f1": pytest.approx(2 * 2 / (3 + 3)), "accuracy": pytest.approx(1 / 3)}


def test_entities_are_right_as_a_whole_only():
    assert entity_spans(["B-x", "I-x", "O", "I-y", "B-y", "I-x"]) == {
        ("x", 0, 2),
        ("y", 3, 4),
        ("y", 4, 5),
        ("x", 5, 6),
    }
    assert entity_spans([]) == set()
    found = EntityF1().compute(
        predictions=[["B-x", "O", "O"], ["B-y", "O"]], references=[["B-x", "I-x", "O"], ["B-y", "B-x"]]
    )
    assert found == {"precision": 0.5, "recall": pytest.approx(1 / 3), "f1": pytest.approx(2 / 5)}


def test_words_that_are_not_labelled_do_not_count():
    names = ("O", "B-x", "I-x")
    classes = np.array([[1, 2, 0, 1], [0, 1, 0, 0]])
    labels = [[1, 2, 0, -100], [-100, 1, -100, -100]]
    found, main = judged("token_classification", np.eye(3)[classes], labels, names)
    assert (main, found["f1"], found["accuracy"]) == ("f1", 1.0, 1.0)
    assert judged("token_classification", np.eye(3)[classes], labels, ("a", "b", "c"))[1] == "macro_f1"


def test_transcripts_are_spelled_along_the_likeliest_path():
    assert collapsed([0, 3, 3, 0, 3, 1, -100]) == [3, 3, 1]
    assert collapsed([2, 2, 1], blank=2) == [1]
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance([], [1, 2]) == 2
    logits = np.eye(4)[[[1, 1, 0, 2], [3, 0, 3, 0]]]
    logits[1, 3] = -100  # padded by Trainer
    found, main = judged("ctc", logits, [[1, 2, -100], [3, -100, -100]])
    assert (main, found) == ("error_rate", {"error_rate": pytest.approx(1 / 3), "accuracy": 0.5})


def test_where_there_are_spaces_words_are_judged_too():
    """Of "ab a" is heard "ab b", and of "b" "b a": a word is another and one is too many, of three."""
    logits = np.eye(4)[[[2, 3, 1, 3], [3, 1, 1, 2]]]
    found, main = judged("ctc", logits, [[2, 3, 1, 2], [3, -100, -100, -100]], names=("<blank>", " ", "a", "b"))
    assert main == "error_rate"
    assert found == pytest.approx({"error_rate": 3 / 5, "word_error_rate": 2 / 3, "accuracy": 0.0})
    assert not larger_is_better("word_error_rate")
    assert spelled_words([1, 2, 3, 1, 1, 2, 1], space=1) == [(2, 3), (2,)]


def test_an_unknown_type_is_a_sentence():
    with pytest.raises(SettingsError, match="no type of task 'ranking'; choose classification"):
        task_metrics("ranking")


def test_several_numbers_are_judged_each_by_itself():
    """Between numbers of two sizes any prediction correlates, the means of them least of all saying something."""
    nan = float("nan")
    said = [[1.0, 500.0], [2.0, 501.0], [3.0, 502.0], [4.0, 503.0]]
    found, main = judged("regression", said, [[1, 503], [2, 502], [3, nan], [4, 500]], names=("width", "price"))
    assert main == "spearman"
    assert (found["spearman_width"], found["spearman_price"], found["spearman"]) == pytest.approx((1, -1, 0))
    assert found["mse_price"] == pytest.approx((9 + 1 + 9) / 3)
    assert found["mse"] == pytest.approx((19 / 3 + 0) / 2)
    unknown, _ = judged("regression", said, [[1, nan], [2, nan], [3, nan], [4, nan]], names=("width", "price"))
    assert unknown["spearman"] == 1
    assert np.isnan(unknown["mse_price"])
