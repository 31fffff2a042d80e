"""Rows of classes that a classifier was never taught: told by how unsure it is, and rejected."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_transfer_kit.adaptation.scores.domain_outputs import entropies, probabilities
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.features.row_blocks import all_finite, rows_at_once, slices
from hf_transfer_kit.options import check_choice

FILE = "rejection.json"
"""Where a rejection lies beside the weights that it was chosen for."""


def _energy(logits: np.ndarray) -> np.ndarray:
    found = np.asarray(logits, dtype=np.float64)
    largest = found.max(axis=1)
    return -(largest + np.log(np.exp(found - largest[:, None]).sum(axis=1)))


UNKNOWN_SCORES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "entropy": lambda logits: entropies(probabilities(logits)),
    "energy": _energy,
    "confidence": lambda logits: -probabilities(logits).max(axis=1),
}
"""Name -> logits (N, C) to scores (N,), larger for rows that are less like what was taught: the entropy of the
prediction (You et al. 2019), minus log sum exp of the logits (Liu et al. 2020), minus the largest probability
(Hendrycks and Gimpel 2017)."""


@dataclass(frozen=True)
class Rejection:
    """Which rows a classifier does not know.

    Args:
        score: A key of ``UNKNOWN_SCORES``.
        threshold: Rows with a larger score are rejected.

    Raises:
        SettingsError: When there is no such score.

    Example:
        >>> rejection = Rejection("entropy", threshold=0.8)
        >>> rejection(logits).tolist()
        [False, False, False, True]
    """

    score: str
    threshold: float

    def __post_init__(self) -> None:
        check_choice("Rejection", "score", self.score, tuple(UNKNOWN_SCORES))

    def scores(self, logits: Any) -> np.ndarray:
        """How little the network knows each row, (N,), of logits (N, C), a tensor or an array."""
        return _in_blocks(self.score, _finite(logits))

    def __call__(self, logits: Any) -> np.ndarray:
        """Whether each row is rejected, bool (N,).

        Args:
            logits: (N, C) of the classifier that it was chosen for.

        Raises:
            DataError: When a logit is not finite: nothing is known of such a row.
        """
        return self.scores(logits) > self.threshold

    def save(self, folder: str | Path) -> None:
        """Writes ``rejection.json``."""
        (Path(folder) / FILE).write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Rejection:
        """Reads it back.

        Raises:
            DataError: When the folder has none.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise DataError(f"{folder} holds no {FILE}: adapt.py --open_target writes one beside the network.")
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class RejectionChoice:
    """How a rejection was chosen.

    Args:
        rejection: For the network that is kept.
        auroc: How well its score ranks rows of classes that were held out behind those of the others, in [0, 1].
        rejected_known: Share of rows of known classes that it rejects on the source, in [0, 1].
        rejected_unknown: Share of rows of held-out classes that the same share of known rows would have cost.
    """

    rejection: Rejection
    auroc: float
    rejected_known: float
    rejected_unknown: float


def choose_rejection(known: Any, held_out_known: Any, held_out_unknown: Any) -> RejectionChoice:
    """Score and threshold from classes of the source that a second network was not taught.

    The score is the one whose ranking of held-out classes behind the others is best (area under the ROC curve). What
    share of known rows is given up is where the true positive rate is furthest above the false positive one (Youden
    1950), and the threshold gives up that share of the kept network's own rows: another network's scores have another
    scale.

    Args:
        known: Logits of the kept network for source rows that were not trained on, (N, C).
        held_out_known: Logits of a network that was not taught some classes, for rows of those that it was, (M, C).
        held_out_unknown: The same for rows of those that it was not, (K, C).

    Raises:
        DataError: When one of the three has no row, or a logit is not finite.

    Example:
        >>> unsure = np.ones((4, 3))
        >>> found = choose_rejection(known=logits[:3], held_out_known=logits[:3], held_out_unknown=unsure)
        >>> found.rejection(unsure).tolist()
        [True, True, True, True]
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    given = [_finite(logits) for logits in (known, held_out_known, held_out_unknown)]
    if not all(len(logits) for logits in given):
        raise DataError("Choosing what to reject needs rows of known classes and of classes that were held out.")
    kept, taught, untaught = given
    truth = np.repeat([False, True], [len(taught), len(untaught)])
    ranked = {name: roc_auc_score(truth, _of_both(name, taught, untaught)) for name in UNKNOWN_SCORES}
    name = max(ranked, key=ranked.__getitem__)
    costs, gains, _ = roc_curve(truth, _of_both(name, taught, untaught))
    best = int(np.argmax(gains - costs))
    scores = _in_blocks(name, kept)
    threshold = float(np.quantile(scores, 1 - costs[best]))
    return RejectionChoice(
        rejection=Rejection(name, threshold),
        auroc=float(ranked[name]),
        rejected_known=float((scores > threshold).mean()),
        rejected_unknown=float(gains[best]),
    )


def open_set_metrics(logits: Any, labels: Sequence[int] | np.ndarray, rejection: Rejection) -> dict[str, float]:
    """How well known rows are named and unknown ones rejected, each in [0, 1].

    Args:
        logits: Of target rows, (N, C).
        labels: Their classes; C and above are unknown.
        rejection: Whose.

    Returns:
        ``known_accuracy``: of known rows, a rejected one being wrong (OS*); ``unknown_recall``: share of unknown rows
        that are rejected (UNK); ``h_score``: their harmonic mean (HOS, Bucci et al. 2020); ``unknown_auroc``: of the
        score, whatever its threshold; ``rejected``: share of all rows.

    Raises:
        DataError: When the rows show known classes alone, or unknown ones alone.

    Example:
        >>> found = open_set_metrics(logits, [0, 1, 2, 3], Rejection("entropy", threshold=0.8))
        >>> found["known_accuracy"], found["unknown_recall"], found["h_score"]
        (1.0, 1.0, 1.0)
    """
    from sklearn.metrics import roc_auc_score

    logits, true = _finite(logits), np.asarray(labels)
    unknown, rejected = true >= logits.shape[1], rejection(logits)
    if unknown.all() or not unknown.any():
        raise DataError("Rejection is judged on rows of known and of unknown classes, but there is one kind alone.")
    right = (logits.argmax(axis=1) == true) & ~rejected
    known_accuracy, recall = right[~unknown].mean(), rejected[unknown].mean()
    total = known_accuracy + recall
    return {
        "known_accuracy": float(known_accuracy),
        "unknown_recall": float(recall),
        "h_score": float(2 * known_accuracy * recall / total) if total else 0.0,
        "unknown_auroc": float(roc_auc_score(unknown, rejection.scores(logits))),
        "rejected": float(rejected.mean()),
    }


def _in_blocks(name: str, logits: np.ndarray) -> np.ndarray:
    size = rows_at_once(8 * 5 * logits.shape[1], what="telling rows of unknown classes")
    return np.concatenate(
        [UNKNOWN_SCORES[name](logits[place]) for place in slices(len(logits), size)] or [logits[:, 0]]
    )


def _of_both(name: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.concatenate([_in_blocks(name, first), _in_blocks(name, second)])


def _finite(logits: Any) -> np.ndarray:
    found = np.asarray(logits.detach().float().cpu() if hasattr(logits, "detach") else logits)
    if found.dtype.kind not in "fiub":
        found = found.astype(np.float64)
    if found.ndim != 2:
        raise SettingsError(f"Logits have the shape {found.shape}; give one row of C for each input, (N, C).")
    if not all_finite(found):
        row = int(np.argwhere(~np.isfinite(found))[0][0])
        raise DataError(f"Logits of row {row} are not finite, so what the network knows of it cannot be told.")
    return found
