"""A metric as a function of how often rows are drawn equals the metric of the rows drawn, for every type of task."""

import numpy as np
import pytest
from transformers import EvalPrediction

from hf_transfer_kit.metrics import larger_is_better, task_metrics
from hf_transfer_kit.metrics.row_metrics import mean_metric
from hf_transfer_kit.metrics.words import amount, metric_words, shown, signed

ROWS = 30
TAGS = ("O", "B-x", "I-x", "B-y")
NAMES = {"classification": tuple("abcd"), "multi_label": tuple("abc"), "token_classification": TAGS}


def case(task_type, generator):
    """Logits and labels of ROWS rows; rows with ties, with labels that are missing, with padding."""
    if task_type == "classification":
        return generator.normal(size=(ROWS, 4)), generator.integers(3, size=ROWS)  # class d is never there
    if task_type == "multi_label":
        labels = generator.integers(2, size=(ROWS, 3)).astype(float)
        labels[generator.random((ROWS, 3)) < 0.2] = np.nan
        return generator.normal(size=(ROWS, 3)), labels
    if task_type == "regression":
        return generator.normal(size=(ROWS, 1)).round(1), generator.normal(size=ROWS).round(1)
    if task_type == "several_numbers":
        labels = generator.normal(size=(ROWS, 2))
        labels[generator.random((ROWS, 2)) < 0.2] = np.nan
        return generator.normal(size=(ROWS, 2)), labels
    if task_type == "ctc":
        logits = generator.normal(size=(ROWS, 6, 4))
        logits[0, 4:] = -100
        return logits, np.where(generator.random((ROWS, 3)) < 0.2, -100, generator.integers(1, 4, size=(ROWS, 3)))
    labels = generator.integers(len(TAGS), size=(ROWS, 5))
    labels[generator.random((ROWS, 5)) < 0.3] = -100
    return generator.normal(size=(ROWS, 5, len(TAGS))), labels


CASES = [
    ("classification", NAMES["classification"]),
    ("multi_label", NAMES["multi_label"]),
    ("regression", ()),
    ("several_numbers", ("width", "height")),
    ("token_classification", TAGS),
    ("token_classification", tuple("abcd")),
    ("ctc", ("<blank>", "a", "b", "c")),
    ("ctc", ("<blank>", " ", "b", "c")),
]


@pytest.mark.parametrize(("task_type", "names"), CASES)
def test_weights_are_rows_repeated(task_type, names):
    generator = np.random.default_rng(0)
    logits, labels = case(task_type, generator)
    metrics = task_metrics("regression" if task_type == "several_numbers" else task_type, names)
    drawn = generator.integers(ROWS, size=ROWS)
    weights = np.bincount(drawn, minlength=ROWS).astype(float)
    for rows, counts in ((np.arange(ROWS), np.ones(ROWS)), (drawn, weights)):
        expected = metrics.compute(EvalPrediction(predictions=logits[rows], label_ids=labels[rows]))
        for name in metrics.names:
            found = metrics.by_row(name, metrics.said(logits), labels)
            assert found.rows == ROWS
            assert found.value(counts) == pytest.approx(expected[name], abs=1e-12), name
            assert found.value(counts / ROWS) == pytest.approx(expected[name], abs=1e-12) or name.startswith("spearman")


@pytest.mark.parametrize(("task_type", "names"), CASES)
def test_many_draws_at_once_are_each_alone(task_type, names):
    generator = np.random.default_rng(1)
    logits, labels = case(task_type, generator)
    metrics = task_metrics("regression" if task_type == "several_numbers" else task_type, names)
    weights = np.stack([np.bincount(generator.integers(few, size=ROWS), minlength=ROWS) for few in (1, 2, 3, 9, ROWS)])
    weights = np.concatenate([weights, np.zeros((1, ROWS), dtype=int)]).astype(float)
    for name in metrics.names:
        found = metrics.by_row(name, metrics.said(logits), labels)
        alone = np.array([found.value(row) for row in weights])
        np.testing.assert_allclose(found.values(weights), alone, rtol=0, atol=1e-12, err_msg=name)


def test_what_is_not_known_does_not_count():
    assert mean_metric(np.array([1.0, np.nan, 0.0])).observed == 0.5
    assert np.isnan(mean_metric(np.array([1.0, np.nan])).value(np.array([0.0, 1.0])))


def test_errors_are_better_when_small_and_read_with_their_sign():
    names = ("accuracy", "spearman", "mse", "mse_width", "error_rate")
    assert [larger_is_better(name) for name in names] == [True, True, False, False, False]
    assert (metric_words("macro_f1"), metric_words("mse")) == ("macro F1", "mean squared error")
    assert (shown("error_rate", 0.25), shown("mse", 0.25)) == ("25.0 %", "0.250")
    assert (amount("f1", 0.021), signed("f1", -0.021), signed("mse", 0.5)) == ("2.1 points", "-2.1", "+0.500")
