"""How metrics read: their names, which way is better, and their values and differences for people."""

from __future__ import annotations

ERRORS = ("error_rate", "word_error_rate", "mse")
"""Metrics of which less is better, and beginnings of the names of such."""
FRACTIONS = (
    "accuracy", "f1", "macro_f1", "balanced_accuracy", "error_rate", "word_error_rate", "precision", "recall",
    "unseen_accuracy",
)  # fmt: skip
"""Metrics that read as per cent, their differences as points."""
_NAMES = {
    "macro_f1": "macro F1",
    "f1": "F1",
    "error_rate": "character error rate",
    "mse": "mean squared error",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
}


def larger_is_better(metric: str) -> bool:
    """Whether a larger value of it is better.

    Example:
        >>> larger_is_better("accuracy"), larger_is_better("mse")
        (True, False)
    """
    return not metric.startswith(ERRORS)


def metric_words(metric: str) -> str:
    """Its name for people: ``"macro F1"``, ``"balanced accuracy"``."""
    return _NAMES.get(metric, metric.replace("_", " "))


def shown(metric: str, value: float) -> str:
    """A value for people: fractions in %, others as they are."""
    return f"{100 * value:.1f} %" if metric in FRACTIONS else f"{value:.3f}"


def amount(metric: str, value: float) -> str:
    """A difference for people: of fractions in points."""
    return f"{100 * value:.1f} points" if metric in FRACTIONS else f"{value:.3f}"


def signed(metric: str, value: float) -> str:
    """A difference with its sign, without a unit."""
    return f"{100 * value:+.1f}" if metric in FRACTIONS else f"{value:+.3f}"
