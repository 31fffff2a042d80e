"""Seen and unseen classes side by side, and how far the scores of seen ones must be lowered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import evaluate
import numpy as np
from transformers import EvalPrediction

from hf_transfer_kit.errors import DataError


@dataclass(frozen=True)
class SeenUnseenCurve:
    """Accuracy on seen and on unseen classes as the scores of seen ones are lowered (Chao et al. 2016, ECCV).

    Args:
        gammas: What is subtracted, rising; everything between two of them gives the same predictions.
        seen: Mean accuracy over seen classes, among all classes.
        unseen: The same over unseen ones.
    """

    gammas: tuple[float, ...]
    seen: tuple[float, ...]
    unseen: tuple[float, ...]

    @property
    def area(self) -> float:
        """Area under unseen accuracy by seen accuracy, in [0, 1] (AUSUC)."""
        # From the largest gamma, where nothing is given to seen classes, to the smallest.
        from scipy.integrate import trapezoid  # numpy's has two names by version

        return float(trapezoid(self.unseen[::-1], self.seen[::-1]))

    @property
    def best(self) -> int:
        """Place of the largest harmonic mean."""
        return int(np.argmax([harmonic_mean(s, u) for s, u in zip(self.seen, self.unseen, strict=True)]))


def harmonic_mean(seen: float, unseen: float) -> float:
    """2 s u / (s + u), 0 where both are 0 (Xian et al. 2018).

    Example:
        >>> harmonic_mean(0.75, 0.25)
        0.375
    """
    return 2 * seen * unseen / (seen + unseen) if seen + unseen else 0.0


def per_class_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Accuracy of each class that occurs, averaged with equal weight.

    Args:
        labels: True classes, (N,).
        predicted: (N,).

    Raises:
        DataError: When there is no row.

    Example:
        >>> per_class_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
        0.5
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if not len(labels):
        raise DataError("There is no row to be right about. Give rows of the classes that are to be judged.")
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))


def stacked(scores: np.ndarray, seen: Sequence[bool] | np.ndarray, gamma: float) -> np.ndarray:
    """Calibrated stacking: scores (N, C) with ``gamma`` subtracted from those of seen classes.

    Example:
        >>> stacked(np.array([[0.6, 0.5]]), [True, False], 0.2)
        array([[0.4, 0.5]])
    """
    return np.asarray(scores) - gamma * np.asarray(seen, dtype=float)


def seen_unseen_curve(scores: np.ndarray, labels: np.ndarray, seen: Sequence[bool] | np.ndarray) -> SeenUnseenCurve:
    """The whole curve: every gamma at which a prediction changes.

    Args:
        scores: (N, C), all classes.
        labels: True classes, (N,).
        seen: Of each class, (C,).

    Raises:
        DataError: When there are no rows, or no classes, of either kind.

    Example:
        >>> scores = np.array([[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.6, 0.1, 0.5]])
        >>> curve = seen_unseen_curve(scores, np.array([0, 1, 2]), [True, True, False])
        >>> float(curve.area)
        1.0
    """
    scores, labels, known = np.asarray(scores, dtype=float), np.asarray(labels), np.asarray(seen, dtype=bool)
    of_seen = known[labels]
    if known.all() or not known.any() or of_seen.all() or not of_seen.any():
        raise DataError("A seen-unseen curve needs rows of seen and of unseen classes. Give both.")
    best_seen, best_unseen = scores[:, known].max(axis=1), scores[:, ~known].max(axis=1)
    # A row turns from its best seen to its best unseen class where gamma passes their difference.
    turns = best_seen - best_unseen
    seen_right = np.flatnonzero(known)[scores[:, known].argmax(axis=1)] == labels
    unseen_right = np.flatnonzero(~known)[scores[:, ~known].argmax(axis=1)] == labels
    weights = _class_weights(labels)
    order = np.argsort(turns, kind="stable")
    # Before the first turn all rows are given to seen classes, after the last to unseen ones.
    lost = np.cumsum((weights * (seen_right & of_seen))[order])
    won = np.cumsum((weights * (unseen_right & ~of_seen))[order])
    at_once = np.append(np.diff(turns[order]) > 0, True)  # rows that turn together
    total, kinds = lost[-1], (len(np.unique(labels[of_seen])), len(np.unique(labels[~of_seen])))
    edges = turns[order][at_once]
    middles = (edges[:-1] + edges[1:]) / 2
    gammas = np.concatenate([[edges[0] - 1.0], middles, [edges[-1] + 1.0]])
    seen_accuracy = np.concatenate([[total], total - lost[at_once]]) / kinds[0]
    unseen_accuracy = np.concatenate([[0.0], won[at_once]]) / kinds[1]
    return SeenUnseenCurve(tuple(gammas.tolist()), tuple(seen_accuracy.tolist()), tuple(unseen_accuracy.tolist()))


def _class_weights(labels: np.ndarray) -> np.ndarray:
    """1 over the number of rows of a row's class, so that classes count alike."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return 1.0 / counts[inverse]


class SeenUnseen(evaluate.Metric):
    """Accuracies of zero-shot learning, all means over classes, fractions in [0, 1] (Xian et al. 2018, TPAMI).

    ``predictions`` are scores of shape (rows, classes), ``references`` places among the classes. ``compute`` also takes
    ``seen``, a bool for each class, and ``gamma`` (default 0.0), which is subtracted from the scores of seen classes.
    It gives, as far as there are rows and classes of a kind:

    =============================== ================================================================
    ``unseen_accuracy``             rows of unseen classes, named among unseen classes alone
    ``generalised_seen_accuracy``   rows of seen classes, named among all classes
    ``generalised_unseen_accuracy`` rows of unseen classes, named among all classes
    ``harmonic_mean``               of the two
    ``ausuc``                       area under the seen-unseen curve, whatever gamma is
    =============================== ================================================================

    Example:
        >>> scores = [[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.6, 0.1, 0.5]]
        >>> found = SeenUnseen().compute(predictions=scores, references=[0, 1, 2], seen=[True, True, False], gamma=0.2)
        >>> found["generalised_unseen_accuracy"], found["harmonic_mean"]
        (1.0, 1.0)
    """

    def _info(self) -> evaluate.MetricInfo:
        scores = datasets.Sequence(datasets.Value("float32"))
        return evaluate.MetricInfo(
            description="Accuracies of seen and unseen classes, averaged over classes.",
            citation="",
            inputs_description="",
            features=datasets.Features({"predictions": scores, "references": datasets.Value("int64")}),
        )

    def _compute(
        self,
        predictions: Sequence[Any],
        references: Sequence[int],
        seen: Sequence[bool] | np.ndarray = (),
        gamma: float = 0.0,
    ) -> dict[str, float]:
        return seen_unseen_accuracies(np.asarray(predictions), np.asarray(references), seen, gamma)


def seen_unseen_accuracies(
    scores: np.ndarray, labels: np.ndarray, seen: Sequence[bool] | np.ndarray, gamma: float = 0.0
) -> dict[str, float]:
    """What ``SeenUnseen`` gives.

    Args:
        scores: (N, C).
        labels: Places among the classes, (N,).
        seen: Of each class, (C,).
        gamma: Subtracted from the scores of seen classes.

    Raises:
        DataError: When there is no row, or ``seen`` does not fit.

    Example:
        >>> scores = np.array([[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.6, 0.1, 0.5]])
        >>> seen_unseen_accuracies(scores, np.array([0, 1, 2]), [True, True, False], gamma=0.2)["harmonic_mean"]
        1.0
    """
    known = np.asarray(seen, dtype=bool)
    if scores.ndim != 2 or known.shape != (scores.shape[1],):
        raise DataError(
            f"Scores have the shape {scores.shape} and seen {known.shape}: give a score for each row and class, and "
            "whether each class was seen."
        )
    of_seen = known[labels]
    found = {}
    if not of_seen.all():
        among = np.flatnonzero(~known)[scores[~of_seen][:, ~known].argmax(axis=1)]
        found["unseen_accuracy"] = per_class_accuracy(labels[~of_seen], among)
    if known.any() and not known.all():
        said = stacked(scores, seen, gamma).argmax(axis=1)
        for kind, rows in (("seen", of_seen), ("unseen", ~of_seen)):
            if rows.any():
                found[f"generalised_{kind}_accuracy"] = per_class_accuracy(labels[rows], said[rows])
    if len(found) == 3:
        of_kinds = (found["generalised_seen_accuracy"], found["generalised_unseen_accuracy"])
        found |= {"harmonic_mean": harmonic_mean(*of_kinds), "ausuc": seen_unseen_curve(scores, labels, seen).area}
    return found


def seen_unseen_metrics(seen: Sequence[bool] | np.ndarray) -> Callable[[EvalPrediction], dict[str, float]]:
    """Trainer's ``compute_metrics`` for a model whose logits are scores of seen and unseen classes.

    Args:
        seen: Of each class, in the order of the logits.

    Example:
        >>> trainer = Trainer(model, args, eval_dataset=test, compute_metrics=seen_unseen_metrics([True, True, False]))
        >>> "eval_harmonic_mean" in trainer.evaluate()
        True
    """
    seen = [bool(value) for value in seen]

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions
        logits = logits[0] if isinstance(logits, tuple) else logits
        return SeenUnseen().compute(predictions=logits, references=prediction.label_ids, seen=seen)

    return compute
