"""How far the target's classes are from the source's in how frequent they are, as far as predictions can tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.adaptation.scores.domain_outputs import DomainOutputs, probabilities
from hf_transfer_kit.values import Diagnosis, LabelShift

WORTH_SAYING = 0.05
"""Share of rows that must be sure to have moved to other classes."""


def label_shift(
    outputs: DomainOutputs, label_names: Sequence[str], *, predicted_by: str, source_shares: np.ndarray | None = None
) -> LabelShift:
    """Shares of the classes that a network predicts for target rows, beside those of the source.

    A network that is wrong in a share e of the target's rows is wrong about the classes' shares by at most e (total
    variation). How often it is right is not known without labels; the mean probability of what it predicts stands for
    it (Guillory et al. 2021), after temperature scaling on the source's rows (Guo et al. 2017).

    Args:
        outputs: What the network says of rows of both domains that were not trained on.
        label_names: Names of the C classes.
        predicted_by: The method that trained it, for people.
        source_shares: Shares of the classes among the rows that it learned from, (C,); those of ``outputs`` by default.
    """
    classes = outputs.target_logits.shape[1]
    if source_shares is None:
        source_shares = np.bincount(outputs.source_labels, minlength=classes) / len(outputs.source_labels)
    predicted = outputs.target_logits.argmax(1)
    factor = inverse_temperature(outputs.source_logits, outputs.source_labels)
    sure = probabilities(factor * np.asarray(outputs.target_logits)).max(1)
    return LabelShift(
        classes=tuple(label_names),
        source=tuple(map(float, source_shares)),
        target=tuple(map(float, np.bincount(predicted, minlength=classes) / len(predicted))),
        predicted_by=predicted_by,
        confidence=float(sure.mean()),
        chance=_chance(source_shares, len(outputs.source_labels), len(predicted)),
    )


def inverse_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """1 / T of temperature scaling (Guo et al. 2017) on labelled rows, in [0.05, 3].

    The upper end is for networks that are right in every row, whose likelihood has no largest value.
    """
    from scipy.optimize import minimize_scalar

    truth = np.arange(len(labels)), np.asarray(labels)

    def loss(factor: float) -> float:
        return float(-np.log(np.maximum(probabilities(factor * np.asarray(logits))[truth], 1e-300)).mean())

    return float(minimize_scalar(loss, bounds=(0.05, 3.0), method="bounded").x)


def shift_diagnosis(shift: LabelShift) -> Diagnosis | None:
    """Whether classes are surely in other shares than in the source, for methods that make the domains alike."""
    if shift.sure <= WORTH_SAYING:
        return None
    moved = sorted(zip(shift.classes, shift.source, shift.target, strict=True), key=lambda c: c[2] - c[1])
    rarer = [f"{name} {target:.0%} after {source:.0%}" for name, source, target in moved if target < source][:3]
    return Diagnosis(
        "label shift",
        f"The classes are not as frequent in the target as in the source: predictions of {shift.predicted_by} differ "
        f"in {shift.distance:.0%} of rows (rarer: {', '.join(rarer)}), and with a confidence of {shift.confidence:.0%} "
        f"errors do not explain {shift.sure:.0%} of them.",
        "Making the domains alike then gives rows of missing classes to others. Weigh source rows by the target's "
        "shares (dann:shares=true, cdan:shares=true), and hold the result against source_only.",
    )


def _chance(shares: np.ndarray, *rows: int) -> float:
    """Total variation that two samples of so many rows with the same shares hardly pass: twice what is expected."""
    variance = np.asarray(shares) * (1 - np.asarray(shares)) * sum(1 / count for count in rows)
    return float(np.sqrt(2 / np.pi * variance).sum())
