"""Options and calibration chosen on seen classes alone: some of them play the unseen ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.metrics import SeenUnseenCurve, harmonic_mean, per_class_accuracy, seen_unseen_curve
from hf_transfer_kit.zero_shot.methods import ALL_METHODS, Ensemble, JointMix, ZeroShotMethod, fitted_method
from hf_transfer_kit.zero_shot.methods.method import spread_of_scores

_NEARLY = 0.98


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Args:
        options: Of the method.
        gamma: To subtract from the scores of seen classes, in units of ``spread_of``.
        pseudo_unseen: Mean accuracy over the classes that played the unseen ones, among themselves.
        pseudo_harmonic: Mean harmonic mean with seen ones, at gamma.
    """

    options: Mapping[str, Any]
    gamma: float
    pseudo_unseen: float
    pseudo_harmonic: float


def spread_of(method: ZeroShotMethod, features: Tensor) -> float:
    """Standard deviation of the scores of seen classes on rows that were learned from: the unit of gamma.

    Methods, options and numbers of classes have scores of other sizes.

    Example:
        >>> rows, places = torch.from_numpy(features), torch.from_numpy(labels)
        >>> method = fitted_method("eszsl", {}, rows, places, torch.from_numpy(table.values[:3]))
        >>> spread_of(method, rows) > 0
        True
    """
    return spread_of_scores(method, features, method.signatures) or 1.0


def choose_options(
    method: str,
    features: Tensor,
    labels: Tensor,
    signatures: Tensor,
    *,
    splits: int = 10,
    share: float = 0.3,
    held_rows: float = 0.2,
    max_rows: int = 2000,
    seed: int = 0,
    tries: Mapping[str, Sequence[Any]] | None = None,
    balanced: bool = False,
    fixed: Mapping[str, Any] | None = None,
) -> Choice:
    """Tries every combination of options on splits of the seen classes into seen and pseudo-unseen ones.

    In each split a share of the classes plays the unseen ones, none of whose rows is learned from, and a share of the
    others' rows is held back, for the accuracy on seen classes. All classes play the unseen ones equally often, as far
    as the numbers allow. Options are those with the largest mean area under the seen-unseen curve; gamma is the one
    in the middle of those whose mean harmonic mean is within 2 % of the best.

    Args:
        method: Key of ``METHODS`` or ``JOINT_METHODS``. Of ``ensemble`` the options of each member are chosen by
            themselves, of ``joint_mix`` first those of the partner, then the weight.
        features: Of rows of seen classes, (N, D).
        labels: int64 (N,), rows of ``signatures``.
        signatures: (S, A) of the seen classes, S at least 4.
        splits: How many, at least 1.
        share: Of the classes that play the unseen ones; at least two do.
        held_rows: Share of the others' rows that is not learned from.
        max_rows: Of more rows, so many drawn at random are looked at.
        seed: Of the splits.
        tries: Option -> values, in place of the method's own.
        balanced: As in ``fitted_method``.
        fixed: Options that are not to be chosen, such as the partner of ``joint_mix``.

    Raises:
        SettingsError: When there are fewer than 4 seen classes, or a number is out of range.

    Example:
        >>> rows, places = torch.from_numpy(features), torch.from_numpy(np.arange(60) % 4)
        >>> found = choose_options("eszsl", rows, places, torch.from_numpy(table.values[:4]), splits=2)
        >>> sorted(found.options)
        ['gamma', 'penalty']
    """
    count = len(signatures)
    if count < 4 or splits < 1 or not (0 < share < 1 and 0 < held_rows < 1):
        raise SettingsError(
            f"{count} seen classes, {splits} splits, share={share}, held_rows={held_rows}: choosing needs at least 4 "
            "seen classes, one split, and shares between 0 and 1."
        )
    if len(labels) > max_rows:
        drawn = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels))[:max_rows])
        features, labels = features[drawn], labels[drawn]
    fixed = dict(fixed or {})
    how: dict[str, Any] = {
        "splits": splits,
        "share": share,
        "held_rows": held_rows,
        "seed": seed,
        "balanced": balanced,
    }
    if method == Ensemble.name and "member_options" not in fixed:
        members = fixed.setdefault("members", list(Ensemble.usual_members))
        fixed["member_options"] = {
            member: dict(choose_options(member, features, labels, signatures, **how).options) for member in members
        }
    if method == JointMix.name and "partner_options" not in fixed:
        beside = signatures[:, features.shape[1] :]
        own = choose_options(fixed.setdefault("partner", JointMix.usual_partner), features, labels, beside, **how)
        fixed["partner_options"] = dict(own.options)
    grid = ALL_METHODS[method].tries if tries is None else tries
    combinations = [fixed | dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    dealt = _splits(labels, count, splits, share, held_rows, np.random.default_rng(seed))
    trials = [
        [_trial(method, options, features, labels, signatures, split, balanced) for split in dealt]
        for options in combinations
    ]
    best = int(np.argmax([np.mean([curve.area for _, curve in of_options]) for of_options in trials]))
    curves = [curve for _, curve in trials[best]]
    candidates = np.linspace(-1.0, 4.0, 101)
    harmonic = np.array([np.mean([_harmonic_at(curve, gamma) for curve in curves]) for gamma in candidates])
    # The middle of what is nearly as good as the best: its very place among a few splits is chance.
    gamma = float(np.mean(candidates[harmonic >= _NEARLY * harmonic.max()]))
    pseudo_unseen = float(np.mean([accuracy for accuracy, _ in trials[best]]))
    return Choice(combinations[best], gamma, pseudo_unseen, float(harmonic.max()))


@dataclass(frozen=True)
class _Split:
    unseen: np.ndarray  # classes
    learned: np.ndarray  # rows
    held: np.ndarray  # rows of seen classes that are not learned from
    of_unseen: np.ndarray  # rows


def _splits(
    labels: Tensor, count: int, splits: int, share: float, held_rows: float, generator: np.random.Generator
) -> list[_Split]:
    size, names = min(max(2, round(share * count)), count - 2), labels.numpy()
    found, waiting = [], np.empty(0, dtype=int)
    for _ in range(splits):
        if len(waiting) < size:  # a new round; who waits from the last one goes first
            others = np.setdiff1d(np.arange(count), waiting)
            waiting = np.concatenate([waiting, generator.permutation(others), generator.permutation(waiting)])
        unseen, waiting = np.sort(waiting[:size]), waiting[size:]
        rows = generator.permutation(len(names))
        of_unseen = np.isin(names[rows], unseen)
        seen_rows = rows[~of_unseen]
        held = round(held_rows * len(seen_rows))
        found.append(_Split(unseen, seen_rows[held:], seen_rows[:held], rows[of_unseen]))
    return found


def _trial(
    method: str,
    options: Mapping[str, Any],
    features: Tensor,
    labels: Tensor,
    signatures: Tensor,
    split: _Split,
    balanced: bool,
) -> tuple[float, SeenUnseenCurve]:
    """Accuracy over the pseudo-unseen classes among themselves, and what the harmonic mean needs at any gamma."""
    seen = np.setdiff1d(np.arange(len(signatures)), split.unseen)
    place = torch.full((len(signatures),), -1, dtype=torch.long)
    place[seen] = torch.arange(len(seen))
    learned = (features[split.learned], place[labels[split.learned]], signatures[seen])
    fitted = fitted_method(method, options, *learned, balanced=balanced)
    judged = np.concatenate([split.held, split.of_unseen])
    scores = fitted.scores(features[judged], signatures).numpy()
    true = labels[judged].numpy()
    among = scores[len(split.held) :][:, split.unseen]
    accuracy = per_class_accuracy(true[len(split.held) :], split.unseen[among.argmax(axis=1)])
    is_seen = np.isin(np.arange(len(signatures)), seen)
    curve = seen_unseen_curve(scores / spread_of(fitted, features[split.learned]), true, is_seen)
    return accuracy, curve


def _harmonic_at(curve: SeenUnseenCurve, gamma: float) -> float:
    place = int(np.abs(np.array(curve.gammas) - gamma).argmin())
    return harmonic_mean(curve.seen[place], curve.unseen[place])
