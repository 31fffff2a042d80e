import numpy as np
import pytest

from hf_transfer_kit.selection.contest.verdict import judge_source, judge_transfer
from hf_transfer_kit.values import StrategyResult


def result(name: str, accuracy: float) -> StrategyResult:
    return StrategyResult(name, "", (0,), {"accuracy": accuracy}, {"accuracy": accuracy})


def correctness(share: float, rows: int = 400) -> np.ndarray:
    return (np.arange(rows) < share * rows)[None, np.random.default_rng(0).permutation(rows)]


@pytest.mark.parametrize(("share", "outcome"), [(0.9, "helped"), (0.61, "undecided"), (0.3, "hurt")])
def test_outcome_follows_the_interval(share, outcome):
    results = [result("full", share), result("from_scratch", 0.6)]
    verdict = judge_transfer(
        results,
        {"full": correctness(share), "from_scratch": np.random.default_rng(1).permuted(correctness(0.6), axis=1)},
        winner="full",
        transferring=["full"],
    )
    assert verdict.outcome == outcome
    assert verdict.difference == pytest.approx(share - 0.6, abs=1e-9)
    assert (verdict.low > 0) == (outcome == "helped")
    assert (verdict.high < 0) == (outcome == "hurt")
    assert "One seed" in verdict.sentence


def test_when_scratch_wins_the_best_transferring_strategy_is_judged():
    results = [result("head_only", 0.2), result("full", 0.4), result("from_scratch", 0.8)]
    correct = {r.strategy: correctness(r.validation["accuracy"]) for r in results}
    verdict = judge_transfer(results, correct, winner="from_scratch", transferring=["head_only", "full"])
    assert verdict.outcome == "hurt"
    assert verdict.difference == pytest.approx(-0.4)
    assert "The strategy full against" in verdict.sentence
    assert "negative transfer" in verdict.sentence


def test_no_baseline_no_verdict():
    assert judge_transfer([result("full", 1.0)], {"full": correctness(1)}, winner="full", transferring=["full"]) is None


@pytest.mark.parametrize(
    ("share", "outcome", "opening"),
    [
        (0.9, "helped", "mine is a better source than theirs."),
        (0.61, "undecided", "Whether mine or theirs is the better source cannot be told"),
        (0.3, "hurt", "theirs is a better source than mine."),
    ],
)
def test_the_better_source_is_named(share, outcome, opening):
    others = np.random.default_rng(1).permuted(correctness(0.6), axis=1)
    verdict = judge_source("mine", "full", correctness(share), "theirs", "head_only", others)
    assert verdict.outcome == outcome
    assert verdict.sentence.startswith(opening)
    assert "full from mine against head_only from theirs under the same budget" in verdict.sentence
    assert verdict.difference == pytest.approx(share - 0.6, abs=1e-9)
    assert (verdict.winner, verdict.baseline) == ("full", "theirs")
