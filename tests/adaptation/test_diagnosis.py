"""Each failure is named from its numbers, with what to change; a healthy log is healthy."""

import pytest

from hf_transfer_kit.adaptation.diagnosis import diagnose, negative_adaptation
from hf_transfer_kit.errors import DataError

HEALTHY = {
    "loss": 0.8,
    "class_loss": 0.1,
    "domain_loss": 0.6,
    "domain_accuracy": 0.7,
    "adversarial_strength": 0.9,
    "source_entropy": 0.05,
    "target_entropy": 0.15,
    "target_diversity": 0.95,
    "source_feature_norm": 10.0,
    "target_feature_norm": 9.0,
    "feature_spread": 0.6,
}
START = {**HEALTHY, "class_loss": 2.3, "source_entropy": 0.99, "target_entropy": 0.99, "adversarial_strength": 0.0}


def log(**end):
    """Ten entries: a beginning, and then the same to the end; evaluations in between."""
    last = {**HEALTHY, **end}
    return [
        {**START, "step": 1},
        {**START, "step": 2},
        *({**last, "step": step} for step in range(3, 11)),
        {"eval_loss": 1.0},
    ]


@pytest.mark.parametrize(
    ("name", "end", "word"),
    [
        ("domain head wins", {"domain_accuracy": 0.99}, "99%"),
        ("features collapsed", {"feature_spread": 0.01}, "0.010"),
        ("features collapsed", {"target_feature_norm": 1e-4}, "0.0001"),
        ("classes mixed up", {"domain_accuracy": 0.55, "target_entropy": 0.6}, "0.55"),
        ("few classes take all", {"target_diversity": 0.2}, "0.20"),
        ("source not learnt", {"class_loss": 2.2, "source_entropy": 0.95}, "2.20"),
        ("diverged", {"domain_loss": float("nan")}, "domain_loss"),
    ],
)
def test_failures_have_names_numbers_and_advice(name, end, word):
    (finding,) = diagnose(log(**end))
    assert finding.name == name
    assert word in finding.finding
    assert finding.advice
    assert not finding.healthy
    assert str(finding) == f"{name}: {finding.finding} {finding.advice}"


def test_a_healthy_log_is_healthy_and_says_what_was_seen():
    (finding,) = diagnose(log())
    assert finding.healthy
    assert str(finding) == (
        "healthy: Nothing that fails was seen: class loss 0.10 on the source, domain accuracy 70%, target predictions "
        "of entropy 0.15 and diversity 0.95 of 1."
    )
    (finding,) = diagnose([{"class_loss": 0.5}])  # a method without a domain head, one entry
    assert finding.healthy


def test_a_head_that_wins_before_lambda_has_grown_is_no_failure():
    assert diagnose(log(domain_accuracy=0.99, adversarial_strength=0.05))[0].healthy


def test_several_failures_come_gravest_first():
    found = diagnose(log(feature_spread=0.0, target_diversity=0.1))
    assert [finding.name for finding in found] == ["features collapsed", "few classes take all"]


def test_negative_adaptation_is_a_majority_of_scores():
    source_only = {"information": 1.0, "snd": 3.0, "bnm": 0.7, "dev": 0.3, "proxy_a": 1.9, "mean_entropy": 0.9}
    better = {"information": 1.5, "snd": 3.5, "bnm": 0.8, "dev": 0.2, "proxy_a": 1.0, "mean_entropy": 0.5}
    assert negative_adaptation(better, source_only) is None
    half = {**better, "information": 0.5, "dev": 0.5}
    assert negative_adaptation(half, source_only) is None
    worse = {**half, "bnm": 0.6}
    found = negative_adaptation(worse, source_only)
    assert found.finding.startswith(
        "3 of 4 scores without target labels are worse than source_only's (information 0.500"
    )
    assert negative_adaptation({"bnm": 0.697}, {"bnm": 0.7}) is None  # within 1 %
    assert negative_adaptation({}, {}) is None
    assert [finding.name for finding in diagnose(log(), scores=worse, source_only=source_only)] == [
        "negative adaptation"
    ]


def test_a_log_without_scalars_is_refused():
    with pytest.raises(DataError, match=r"holds no class_loss.*LogScalars"):
        diagnose([{"loss": 1.0}])
