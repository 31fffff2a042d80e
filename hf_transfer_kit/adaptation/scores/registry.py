"""All scores by name, and which way is up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hf_transfer_kit.adaptation.scores.domain_outputs import DomainOutputs
from hf_transfer_kit.adaptation.scores.importance import deep_embedded_validation
from hf_transfer_kit.adaptation.scores.neighbourhood_density import soft_neighbourhood_density
from hf_transfer_kit.adaptation.scores.prediction_matrix import class_correlation, nuclear_norm
from hf_transfer_kit.adaptation.scores.predictions import information, mean_entropy, source_accuracy
from hf_transfer_kit.adaptation.scores.proxy_distance import proxy_a_distance
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean


@dataclass(frozen=True)
class TargetScore:
    """A score that needs no labels of the target.

    Args:
        larger_is_better: Which way is up.
        summary: For people.
        value: Outputs -> number.
        needs_source: Whether it reads rows of the source.

    Example:
        >>> score = TargetScore(True, "largest logit", lambda outputs: float(outputs.target_logits.max()))
        >>> score.larger_is_better, score.needs_source
        (True, False)
    """

    larger_is_better: bool
    summary: str
    value: Callable[[DomainOutputs], float]
    needs_source: bool = False

    @property
    def sign(self) -> int:
        """1 where a larger value is better, else -1."""
        return 1 if self.larger_is_better else -1


def _importance_weighted_error(outputs: DomainOutputs) -> float:
    wrong = outputs.source_logits.argmax(1) != outputs.source_labels
    return deep_embedded_validation(outputs.source_features, outputs.target_features, wrong)


SCORES: dict[str, TargetScore] = {
    "source_accuracy": TargetScore(
        True, "accuracy on the source", lambda o: source_accuracy(o.source_logits, o.source_labels), True
    ),
    "mean_entropy": TargetScore(False, "how unsure predictions are", lambda o: mean_entropy(o.target_logits)),
    "information": TargetScore(True, "sure and diverse predictions", lambda o: information(o.target_logits)),
    "snd": TargetScore(True, "soft neighbourhood density", lambda o: soft_neighbourhood_density(o.target_logits)),
    "bnm": TargetScore(True, "nuclear norm of the predictions", lambda o: nuclear_norm(o.target_logits)),
    "corr_c": TargetScore(True, "correlation of the classes", lambda o: class_correlation(o.target_logits)),
    "dev": TargetScore(False, "importance-weighted source error", _importance_weighted_error, True),
    "proxy_a": TargetScore(
        False, "proxy A-distance", lambda o: proxy_a_distance(o.source_features, o.target_features), True
    ),
}
"""Name -> score."""


def register_score(name: str, score: TargetScore) -> TargetScore:
    """Adds a score that needs no labels of the target, by which weights and methods may then be chosen.

    Raises:
        SettingsError: When it is no TargetScore, or the name is no word or another's.

    Example:
        >>> score = TargetScore(True, "largest logit", lambda outputs: float(outputs.target_logits.max()))
        >>> _ = register_score("surest", score)
        >>> "surest" in SCORES
        True
    """
    if not isinstance(score, TargetScore) or not name.isidentifier():
        raise SettingsError(f"{name!r} with {score!r}: a score has a word for its name, and is a TargetScore.")
    if SCORES.get(name, score) is not score:
        raise SettingsError(f"{name!r} is a score already: {SCORES[name].summary}. Choose another name.")
    SCORES[name] = score
    return score


def target_scores(outputs: DomainOutputs, names: Sequence[str] | None = None) -> dict[str, float]:
    """Name -> value of the asked scores.

    Args:
        outputs: What a network says of rows of both domains.
        names: Keys of ``SCORES``; all that there are by default.

    Raises:
        SettingsError: When a name is unknown.

    Example:
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="dann")
        >>> scores = target_scores(domain_outputs(adapted, test, target, collator), ["bnm", "information"])
        >>> list(scores)
        ['bnm', 'information']
    """
    names = tuple(SCORES) if names is None else names
    for name in names:
        if name not in SCORES:
            raise SettingsError(
                f"The score {name!r} is unknown; choose among {', '.join(SCORES)}.{did_you_mean(name, SCORES)}"
            )
    return {name: float(SCORES[name].value(outputs)) for name in names}
