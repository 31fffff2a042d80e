"""One method on one split of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hf_transfer_kit.metrics import seen_unseen_accuracies
from hf_transfer_kit.selection.unseen_classes.data import SplitFeatures
from hf_transfer_kit.values import UnseenFigures
from hf_transfer_kit.zero_shot import (
    AttributeTable,
    Choice,
    HoldOut,
    ZeroShotMethod,
    choose_options,
    fitted_method,
    spread_of,
)


@dataclass(frozen=True, eq=False)
class Fitted:
    """One method on one split.

    Args:
        method: Learned, in float64.
        choice: Its options and gamma, from seen classes.
        gamma: To subtract from the scores of seen classes.
        scores: Of test rows, (N, C), classes in the split's order.
        figures: On test rows.
        said: What test rows of unseen classes were named among these, (U,): places in the split's order.
        true: Their classes, likewise.
    """

    method: ZeroShotMethod
    choice: Choice
    gamma: float
    scores: np.ndarray
    figures: UnseenFigures
    said: np.ndarray
    true: np.ndarray


def fitted(
    method: str,
    features: SplitFeatures,
    table: AttributeTable,
    split: HoldOut,
    seed: int,
    *,
    balanced: bool = False,
    fixed: Mapping[str, Any] | None = None,
) -> Fitted:
    """Chooses options and gamma on seen classes, learns from all their rows, and judges on test rows.

    ``fixed`` options are not chosen.
    """
    learned = features.train.of(split.seen)
    signatures = torch.from_numpy(table.rows(split.seen))
    given = (learned.features, learned.places(split.seen), signatures)
    choice = choose_options(method, *given, seed=seed, balanced=balanced, fixed=fixed)
    learned_method = fitted_method(method, choice.options, *given, balanced=balanced)
    gamma = choice.gamma * spread_of(learned_method, learned.features)
    scores = learned_method.scores(features.test.features, torch.from_numpy(table.rows(split.classes))).numpy()
    places = features.test.places(split.classes).numpy()
    seen = [name in split.seen for name in split.classes]
    plain, lowered = (seen_unseen_accuracies(scores, places, seen, subtracted) for subtracted in (0.0, gamma))
    figures = UnseenFigures(
        unseen_accuracy=plain["unseen_accuracy"],
        generalised_seen_accuracy=lowered["generalised_seen_accuracy"],
        generalised_unseen_accuracy=lowered["generalised_unseen_accuracy"],
        harmonic_mean=lowered["harmonic_mean"],
        uncalibrated={name: plain[name] for name in lowered if name not in ("unseen_accuracy", "ausuc")},
        ausuc=plain["ausuc"],
        gamma=gamma,
        options=dict(choice.options),
        pseudo_harmonic=choice.pseudo_harmonic,
    )
    among = np.flatnonzero(~np.array(seen))
    asked = np.isin(places, among)
    said = among[scores[np.ix_(asked, among)].argmax(axis=1)]
    return Fitted(learned_method, choice, gamma, scores, figures, said, places[asked])
