"""One function judges in every comparison: the right sign, the metric itself, pairs of their own rows."""

import numpy as np
import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.metrics import mean_metric, task_metrics
from hf_transfer_kit.selection.contest.bootstrap import Pair, paired_bootstrap, pooled_bootstrap
from hf_transfer_kit.selection.contest.verdict import Question, judge

QUESTION = Question("Better.", "Worse.", "Who knows.", "a against b")


def numbers(error: float, seed: int, metric: str = "mse"):
    """A run whose predictions are off by about ``error``."""
    true = np.random.default_rng(0).normal(size=200)
    said = true + error * np.random.default_rng(seed).normal(size=200)
    return task_metrics("regression").by_row(metric, said[:, None], true)


@pytest.mark.parametrize(("metric", "unit"), [("mse", "in test mean squared error"), ("spearman", "in test Spearman")])
def test_the_run_with_the_larger_error_loses(metric, unit):
    """Of an error the smaller one is better, of a correlation the larger one: either way the worse predictions lose."""
    good, bad = [numbers(0.1, seed, metric) for seed in (1, 2)], [numbers(1.0, seed, metric) for seed in (3, 4)]
    won, lost = (judge("a", "b", [Pair(*sides)], QUESTION, metric=metric) for sides in ((good, bad), (bad, good)))
    assert (won.outcome, lost.outcome) == ("helped", "hurt")
    assert won.larger_is_better == (metric == "spearman")
    assert (won.difference > 0) == won.larger_is_better
    assert won.sentence.startswith("Better. a against b: ")
    assert unit in won.sentence
    assert ("less is better" in won.sentence) == (metric == "mse")
    assert won.winner_runs == tuple(run.observed for run in good)
    assert won.difference == pytest.approx(np.mean(won.winner_runs) - np.mean(won.baseline_runs))


def test_a_metric_of_all_rows_is_computed_of_the_rows_drawn():
    """Macro F1 of few rows of a class moves far more than a mean over rows would."""
    true = np.r_[np.zeros(95, int), np.ones(5, int)]
    half = true.copy()
    half[95:98] = 0  # three of the five rare rows are missed
    by_row = task_metrics("classification", ("a", "b")).by_row
    sides = {m: ([by_row(m, true, true)], [by_row(m, half, true)]) for m in ("accuracy", "macro_f1")}
    difference, low, high = paired_bootstrap(*sides["macro_f1"], draws=2000)
    assert difference == pytest.approx(1 - (2 * 95 / (95 + 98) + 2 * 2 / (2 + 5)) / 2)
    assert low < difference - 0.05
    assert high > difference + 0.05
    assert paired_bootstrap(*sides["accuracy"], draws=2000)[2] < 0.08


def test_pairs_have_rows_of_their_own_and_count_alike():
    """Sets of 10 and of 1000 rows: the mean over the sets, not over the rows."""
    pairs = [
        Pair(np.ones((2, 10)), np.zeros((1, 10))),
        Pair([mean_metric(np.ones(1000))] * 2, [mean_metric(np.ones(1000))]),
    ]
    assert pooled_bootstrap(pairs, draws=50) == (0.5, 0.5, 0.5)
    drawn = pooled_bootstrap(pairs, draw_pairs=True, draws=500)
    assert drawn == (0.5, 0.0, 1.0)
    judged = judge("a", "b", pairs, QUESTION, metric="unseen_accuracy", draw_pairs=True)
    assert (judged.outcome, judged.winner_runs, judged.baseline_runs) == ("undecided", (1.0, 1.0), (0.0, 1.0))
    assert "+50.0 points of test unseen accuracy" in judged.sentence
    assert judge("a", "b", pairs, QUESTION).winner_runs == (1.0, 1.0)


def test_other_rows_on_one_side_are_refused():
    with pytest.raises(SettingsError, match="3 and 4 test rows"):
        judge("a", "b", [Pair(np.ones(3), np.ones(4))], QUESTION)
