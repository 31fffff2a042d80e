"""Scores equal slow sums and closed forms, and point the way they say."""

import math

import numpy as np
import pytest

from hf_transfer_kit.adaptation.scores import (
    SCORES,
    DomainOutputs,
    agreement,
    class_correlation,
    deep_embedded_validation,
    information,
    mean_entropy,
    nuclear_norm,
    proxy_a_distance,
    soft_neighbourhood_density,
    source_accuracy,
    target_scores,
)
from hf_transfer_kit.adaptation.scores.importance import importance_weights, weighted_risk
from hf_transfer_kit.errors import DataError, SettingsError

SURE = np.tile(np.eye(4) * 200, (6, 1))
ONE_CLASS = np.tile([200.0, 0, 0, 0], (24, 1))
FLAT = np.zeros((24, 4))


def softmax(row):
    exponents = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponents) for value in exponents]


def entropy(row):
    return -sum(p * math.log(p) for p in row if p > 0)


@pytest.mark.parametrize(
    ("score", "sure", "one_class", "flat"),
    [
        (mean_entropy, 0, 0, math.log(4)),
        (information, math.log(4), 0, 0),
        (nuclear_norm, 1, 0.5, 0.25),
        (class_correlation, 1, 0.5, 0.5),
        (soft_neighbourhood_density, math.log(5), math.log(23), math.log(23)),
    ],
)
def test_closed_forms(score, sure, one_class, flat):
    found = [score(logits) for logits in (SURE, ONE_CLASS, FLAT)]
    assert found == pytest.approx([sure, one_class, flat], abs=1e-6)


def test_slow_sums():
    logits = np.random.default_rng(0).normal(size=(7, 3)) * 2
    p = [softmax(row) for row in logits]
    mean = [sum(row[c] for row in p) / 7 for c in range(3)]
    assert mean_entropy(logits) == pytest.approx(sum(map(entropy, p)) / 7, abs=1e-12)
    assert information(logits) == pytest.approx(entropy(mean) - sum(map(entropy, p)) / 7, abs=1e-12)
    unit = [[value / math.hypot(*row) for value in row] for row in p]
    slow = 0.0
    for i in range(7):
        others = [sum(a * b for a, b in zip(unit[i], unit[j], strict=True)) / 0.05 for j in range(7) if j != i]
        slow += entropy(softmax(others)) / 7
    assert soft_neighbourhood_density(logits) == pytest.approx(slow, abs=1e-9)
    matrix = np.array(p)
    assert nuclear_norm(logits) == pytest.approx(
        sum(math.sqrt(max(value, 0)) for value in np.linalg.eigvalsh(matrix.T @ matrix)) / math.sqrt(21), abs=1e-9
    )


def test_source_accuracy_counts():
    assert source_accuracy(SURE, np.tile([0, 1, 2, 0], 6)) == 0.75


def test_domains_that_are_one_are_not_told_apart_and_others_are():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(600, 4))
    assert proxy_a_distance(rows[:400], rows[400:]) < 0.25
    assert proxy_a_distance(rows[:400], rows[400:] + 100) == 2.0
    near, far = (proxy_a_distance(rows[:400], rows[400:] + shift) for shift in (0.5, 1.5))
    assert near < far


def test_importance_weighting_recovers_the_risk_of_a_shifted_domain():
    """The loss is the feature's sign, which is more often positive in the target."""
    generator = np.random.default_rng(0)
    source, target = generator.normal(size=(3000, 1)), generator.normal(size=(3000, 1)) + 0.7
    losses = (source[:, 0] > 0).astype(float)
    truth = np.mean(target[:, 0] > 0)
    assert abs(np.mean(losses) - truth) > 0.2
    assert deep_embedded_validation(source, target, losses) == pytest.approx(truth, abs=0.06)
    weights = importance_weights(source, target)
    assert np.corrcoef(np.log(weights), source[:, 0])[0, 1] > 0.99


def test_the_control_variate_is_the_formula_and_exact_for_constant_losses():
    generator = np.random.default_rng(0)
    losses, weights = generator.random(50), generator.exponential(size=50)
    eta = -np.cov(losses * weights, weights, bias=True)[0, 1] / weights.var()
    assert weighted_risk(losses, weights) == pytest.approx(np.mean(losses * weights) + eta * weights.mean() - eta)
    assert weighted_risk(np.full(50, 0.3), weights) == pytest.approx(0.3)
    assert weighted_risk(losses, np.ones(50)) == pytest.approx(losses.mean())


def outputs(quality: float, *, seed=0):
    """A network that is right on a share of target rows and sure where it is right."""
    generator = np.random.default_rng(seed)
    labels = np.arange(120) % 4
    right = generator.random(120) < quality
    source = np.eye(4)[labels] * 6 + generator.normal(size=(120, 4)) * 0.3
    target = np.eye(4)[labels] * np.where(right, 6, 0.5)[:, None] + generator.normal(size=(120, 4)) * 0.3
    return DomainOutputs(source, source, labels, target, target)


def test_every_score_prefers_the_better_network():
    good, bad = (target_scores(outputs(quality)) for quality in (0.95, 0.2))
    for name, score in SCORES.items():
        if name not in ("source_accuracy", "snd"):
            assert (good[name] > bad[name]) == score.larger_is_better, name
    assert set(good) == set(SCORES)
    assert target_scores(outputs(0.5), ["snd"]).keys() == {"snd"}


def test_density_prefers_classes_that_lie_close_together():
    generator = np.random.default_rng(0)
    tight = [
        soft_neighbourhood_density(np.repeat(np.eye(4), 25, 0) * 5 + noise * generator.normal(size=(100, 4)))
        for noise in (0.1, 1.0, 2.0)
    ]
    assert tight == sorted(tight, reverse=True)


def test_agreement_says_what_choosing_by_a_score_costs():
    found = agreement([3.0, 1.0, 2.0], [0.5, 0.9, 0.7], larger_is_better=False)
    assert (found.chosen, found.accuracy, found.regret) == (1, 0.9, 0.0)
    assert found.rank_correlation == pytest.approx(1.0)
    found = agreement([3.0, 1.0, 2.0], [0.5, 0.9, 0.7], larger_is_better=True)
    assert found.regret == pytest.approx(0.4)
    assert found.rank_correlation == pytest.approx(-1.0)
    assert agreement([1.0, 1.0], [0.1, 0.2], larger_is_better=True).rank_correlation == 0.0
    assert agreement([1, 2, 2], [0.1, 0.2, 0.3], larger_is_better=True).rank_correlation == pytest.approx(0.8660254)


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingsError, match="'magic' is unknown; choose among source_accuracy"):
        target_scores(outputs(0.5), ["magic"])
    with pytest.raises(DataError, match=r"found source_features \(3, 2\)"):
        DomainOutputs(np.zeros((3, 2)), np.zeros((3, 4)), np.zeros(2), np.zeros((3, 2)), np.zeros((3, 4)))
    with pytest.raises(DataError, match="one or more of each domain"):
        DomainOutputs(np.zeros((3, 2)), np.zeros((3, 4)), np.zeros(3), np.zeros((0, 2)), np.zeros((0, 4)))
    with pytest.raises(DataError, match="The source has 1 rows and the target 3"):
        proxy_a_distance(np.zeros((1, 2)), np.zeros((3, 2)))
    with pytest.raises(SettingsError, match="temperature=0 is out of range"):
        soft_neighbourhood_density(FLAT, temperature=0)
    with pytest.raises(DataError, match="There are 1 scores and 2 accuracies"):
        agreement([1.0], [0.1, 0.2], larger_is_better=True)
