"""From logged scalars to words: whether adaptation is healthy, or what fails and what to change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hf_transfer_kit.adaptation.scores.registry import SCORES
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.values import Diagnosis

_TAIL = 0.2
"""Share of the log that counts as its end, and as its beginning."""
_VOTES = ("information", "snd", "bnm", "corr_c", "dev")
"""Scores that tell negative adaptation. Left out are those that a network which forgets its classes improves
(``mean_entropy``, ``proxy_a``), and ``source_accuracy``, which adaptation may cost."""


def diagnose(
    log_history: Sequence[Mapping[str, float]],
    *,
    scores: Mapping[str, float] | None = None,
    source_only: Mapping[str, float] | None = None,
) -> tuple[Diagnosis, ...]:
    """Looks at what a run logged, its last fifth against its first.

    Args:
        log_history: ``trainer.state.log_history`` of a run with ``LogScalars``.
        scores: Scores of the adapted network (``target_scores``), to look for negative adaptation.
        source_only: The same scores of the network trained on the source alone.

    Returns:
        All failures that were found, the gravest first; or one that is healthy.

    Raises:
        DataError: When nothing was logged that tells.

    Example:
        >>> log = [{"step": step, "class_loss": 0.05, "target_diversity": 0.1} for step in range(1, 11)]
        >>> [found.name for found in diagnose(log)]
        ['few classes take all']
    """
    entries = [entry for entry in log_history if "class_loss" in entry]
    if not entries:
        raise DataError(
            "The log holds no class_loss, so there is nothing to diagnose. Train a DomainAdversarialModel with "
            "LogScalars() among the callbacks and logging on."
        )
    span = max(1, round(_TAIL * len(entries)))
    first, last = _means(entries[:span]), _means(entries[-span:])
    found = [rule(first, last) for rule in (_diverged, _collapsed, _source_lost, _head_wins, _one_class, _mixed_up)]
    if scores is not None and source_only is not None:
        found.append(negative_adaptation(scores, source_only))
    failures = tuple(finding for finding in found if finding is not None)
    return failures or (Diagnosis("healthy", _healthy_words(last)),)


def negative_adaptation(scores: Mapping[str, float], source_only: Mapping[str, float]) -> Diagnosis | None:
    """Whether most scores that need no target labels are worse than without adaptation, by more than 1 %.

    Args:
        scores: Of the adapted network, name -> value.
        source_only: Of the network trained on the source alone, on the same rows.

    Returns:
        A finding, or None when at least half of the scores are no worse.

    Example:
        >>> negative_adaptation({"bnm": 0.9, "information": 1.2}, {"bnm": 0.7, "information": 1.0}) is None
        True
        >>> negative_adaptation({"bnm": 0.5, "information": 0.8}, {"bnm": 0.7, "information": 1.0}).name
        'negative adaptation'
    """
    names = [name for name in _VOTES if name in scores and name in source_only]
    worse = [name for name in names if _worse(name, scores[name], source_only[name])]
    if 2 * len(worse) <= len(names):
        return None
    values = ", ".join(f"{name} {scores[name]:.3f} after {source_only[name]:.3f}" for name in worse)
    return Diagnosis(
        "negative adaptation",
        f"{len(worse)} of {len(names)} scores without target labels are worse than source_only's ({values}).",
        "Train longer and compare again, since a method that learns more is surer later; if it stays so, keep the "
        "network trained on the source alone, or its BatchNorm re-estimated on the target: the domains may differ in "
        "how frequent classes are, which makes equal features wrong.",
    )


def _worse(name: str, value: float, baseline: float) -> bool:
    loss = baseline - value if SCORES[name].larger_is_better else value - baseline
    return loss > 0.01 * abs(baseline)


def _means(entries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = {name for entry in entries for name in entry}
    return {name: float(np.mean([entry[name] for entry in entries if name in entry])) for name in sorted(names)}


def _diverged(first: Mapping[str, float], last: Mapping[str, float]) -> Diagnosis | None:
    broken = [name for name, value in last.items() if name.endswith("loss") and not math.isfinite(value)]
    if not broken:
        return None
    return Diagnosis(
        "diverged",
        f"{', '.join(broken)} ended as no finite number.",
        "Lower the learning rate, clip gradients (max_grad_norm=1), or train in float32.",
    )


def _collapsed(first: Mapping[str, float], last: Mapping[str, float]) -> Diagnosis | None:
    spread, length, before = (
        last.get("feature_spread", 1.0),
        last.get("target_feature_norm", 1.0),
        first.get("target_feature_norm", 1.0),
    )
    if not (spread < 0.05 or length < 1e-3 * before):
        return None
    return Diagnosis(
        "features collapsed",
        f"Target rows differ by {spread:.3f} of their length, which is {length:.3g} (at first {before:.3g}).",
        "Weaken the method: a smaller weight, a slower schedule (gamma=5), or a smaller learning rate for the body.",
    )


def _source_lost(first: Mapping[str, float], last: Mapping[str, float]) -> Diagnosis | None:
    entropy = last.get("source_entropy", 0.0)
    if not (entropy > 0.7 and last["class_loss"] > 0.7 * first["class_loss"]):
        return None
    return Diagnosis(
        "source not learnt",
        f"The source's class loss is {last['class_loss']:.2f} (at first {first['class_loss']:.2f}) and its predictions "
        f"are unsure (entropy {entropy:.2f} of 1).",
        "Train source_only first: if that fails too, raise the steps or the learning rate; if not, weaken the method.",
    )


def _head_wins(first: Mapping[str, float], last: Mapping[str, float]) -> Diagnosis | None:
    accuracy, strength = last.get("domain_accuracy", 0.5), last.get("adversarial_strength", 1.0)
    if not (accuracy > 0.95 and strength > 0.1):
        return None
    return Diagnosis(
        "domain head wins",
        f"It tells the domains apart in {accuracy:.0%} of rows (healthy: 55 to 90 %) at lambda {strength:.2f}, so the "
        "features are not adapted.",
        "Use BatchNorm statistics per domain, augment the source, train longer, or weaken the head (hidden=[100], "
        "dropout=0.5).",
    )


def _one_class(first: Mapping[str, float], last: Mapping[str, float]) -> Diagnosis | None:
    diversity = last.get("target_diversity", 1.0)
    if not diversity < 0.5:
        return None
    return Diagnosis(
        "few classes take all",
        f"Predictions on the target have a diversity of {diversity:.2f} of 1: some classes are hardly ever predicted.",
        "Raise the diversity term where the method has one, lower its weight, or check that the target has all of the "
        "classes.",
    )


def _mixed_up(first: Mapping[str, float], last: Mapping[str, float]) -> Diagnosis | None:
    accuracy = last.get("domain_accuracy", 1.0)
    gap = last.get("target_entropy", 0.0) - last.get("source_entropy", 0.0)
    if not (accuracy < 0.75 and gap > 0.25):
        return None
    return Diagnosis(
        "classes mixed up",
        f"The domains look alike (domain accuracy {accuracy:.0%}), yet predictions on the target are less sure than on "
        f"the source by {gap:.2f} of 1: the domains were matched, their classes were not.",
        "Condition the alignment on classes (cdan, mcc), or add self-training (adamatch).",
    )


def _healthy_words(last: Mapping[str, float]) -> str:
    words = [f"class loss {last['class_loss']:.2f} on the source"]
    if "domain_accuracy" in last:
        words.append(f"domain accuracy {last['domain_accuracy']:.0%}")
    if "target_diversity" in last:
        words.append(
            f"target predictions of entropy {last['target_entropy']:.2f} and diversity "
            f"{last['target_diversity']:.2f} of 1"
        )
    return f"Nothing that fails was seen: {', '.join(words)}."
