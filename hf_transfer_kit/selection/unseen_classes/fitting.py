"""One method on one split of the classes, and a classifier that has the labels beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.features import linear_probe
from hf_transfer_kit.metrics import per_class_accuracy, seen_unseen_accuracies
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

_PSEUDO = ("pseudo_harmonic", "pseudo_unseen")


@dataclass(frozen=True, eq=False)
class Fitted:
    """One method on one split, as a run of a contest; what it learned is learned again where it is wanted.

    Args:
        method: Its name.
        choice: Its options and gamma, from seen classes.
        gamma: To subtract from the scores of seen classes.
        scores: Of test rows, (N, C), classes in the split's order.
        found: Figures on test rows.
        said: What test rows of unseen classes were named among these, (U,): places in the split's order.
        true: Their classes, likewise.
        seconds: Wall time, features aside.
        model: None; a network is the split's, not the method's.
    """

    method: str
    choice: Choice
    gamma: float
    scores: np.ndarray
    found: UnseenFigures
    said: np.ndarray
    true: np.ndarray
    seconds: float
    model: None = None
    steps: ClassVar[int] = 0

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """Split -> metric -> value; of seen classes that played unseen ones, and of test rows."""
        test = {name: getattr(self.found, name) for name in ("unseen_accuracy", "harmonic_mean", "ausuc")}
        return {"validation": {name: getattr(self.found, name) for name in _PSEUDO}, "test": test}


def learned_method(
    method: str,
    options: Mapping[str, Any],
    features: SplitFeatures,
    table: AttributeTable,
    split: HoldOut,
    *,
    balanced: bool = False,
) -> ZeroShotMethod:
    """The method with these options, learned from all rows of seen classes; the same bits each time."""
    return fitted_method(method, options, *_shown(features, table, split), balanced=balanced)


def _shown(features: SplitFeatures, table: AttributeTable, split: HoldOut) -> tuple[Tensor, Tensor, Tensor]:
    """Features and labels of the rows of seen classes, and these classes' signatures."""
    learned = features.train.of(split.seen)
    return learned.features, learned.places(split.seen), torch.from_numpy(table.rows(split.seen))


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
    started = time.perf_counter()
    given = _shown(features, table, split)
    choice = choose_options(method, *given, seed=seed, balanced=balanced, fixed=fixed)
    learned = learned_method(method, choice.options, features, table, split, balanced=balanced)
    gamma = choice.gamma * spread_of(learned, given[0])
    scores = learned.scores(features.test.features, torch.from_numpy(table.rows(split.classes))).numpy()
    places = features.test.places(split.classes).numpy()
    seen = [name in split.seen for name in split.classes]
    plain, lowered = (seen_unseen_accuracies(scores, places, seen, subtracted) for subtracted in (0.0, gamma))
    found = UnseenFigures(
        unseen_accuracy=plain["unseen_accuracy"],
        generalised_seen_accuracy=lowered["generalised_seen_accuracy"],
        generalised_unseen_accuracy=lowered["generalised_unseen_accuracy"],
        harmonic_mean=lowered["harmonic_mean"],
        uncalibrated={name: plain[name] for name in lowered if name not in ("unseen_accuracy", "ausuc")},
        ausuc=plain["ausuc"],
        gamma=gamma,
        options=dict(choice.options),
        pseudo_harmonic=choice.pseudo_harmonic,
        pseudo_unseen=choice.pseudo_unseen,
    )
    among = np.flatnonzero(~np.array(seen))
    asked = np.isin(places, among)
    said = among[scores[np.ix_(asked, among)].argmax(axis=1)]
    return Fitted(method, choice, gamma, scores, found, said, places[asked], time.perf_counter() - started)


@dataclass(frozen=True)
class Labelled:
    """A classifier with the labels of the unseen classes of a split, as a run of a contest."""

    accuracy: float
    seconds: float
    model: None = None
    steps: ClassVar[int] = 0

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """Split -> metric -> value."""
        return {"test": {"unseen_accuracy": self.accuracy}}


def labelled_classifier(features: SplitFeatures, split: HoldOut, seed: int) -> Labelled:
    """Accuracy among the unseen classes of a linear classifier that learned from their labelled training rows."""
    started = time.perf_counter()
    train, test = features.train.of(split.unseen), features.test.of(split.unseen)
    probe = linear_probe(train.features.float().numpy(), train.places(split.unseen).numpy(), seed=seed)
    said = probe.predict(test.features.float().numpy())
    accuracy = per_class_accuracy(test.places(split.unseen).numpy(), said)
    return Labelled(accuracy, time.perf_counter() - started)
