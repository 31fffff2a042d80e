"""The metrics of a classifier as Trainer's ``compute_metrics``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from transformers import EvalPrediction

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.metrics.classification import Accuracy, BalancedAccuracy, MacroF1, top_k_share
from hf_transfer_kit.options import check_int

IGNORED = -100


@checked_arguments()
def classification_metrics(
    label_names: Sequence[str], *, top_k: int | None = None
) -> Callable[[EvalPrediction], dict[str, float]]:
    """For the stock Trainer: ``accuracy``, ``macro_f1``, ``balanced_accuracy`` and, if asked for, ``top_k_accuracy``.

    Args:
        label_names: Names of the classes.
        top_k: Also the share of rows whose class is among the k highest scores, 1 <= k < number of classes.

    Returns:
        A function from logits of shape (rows, classes) (or (rows, tokens, classes)) and classes to fractions in
        [0, 1]; rows or tokens labelled -100 do not count.

    Example:
        >>> metrics = classification_metrics(["cat", "dog", "fox"])
        >>> trainer = Trainer(model, args, eval_dataset=test, compute_metrics=metrics)
        >>> sorted(name for name in trainer.evaluate() if "acc" in name)
        ['eval_accuracy', 'eval_balanced_accuracy']
    """
    if top_k is not None:
        check_int("classification_metrics", "top_k", top_k, low=1)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        scores = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        scores, classes = np.asarray(scores), np.asarray(prediction.label_ids)
        counted = classes != IGNORED
        scores, classes = scores[counted], classes[counted]
        predicted = scores.argmax(axis=-1)
        values = {
            **Accuracy().compute(predictions=predicted, references=classes),
            **MacroF1().compute(predictions=predicted, references=classes),
            **BalancedAccuracy().compute(predictions=predicted, references=classes),
        }
        if top_k is not None and top_k < len(label_names):
            values["top_k_accuracy"] = top_k_share(scores, classes, top_k)
        return values

    return compute_metrics
