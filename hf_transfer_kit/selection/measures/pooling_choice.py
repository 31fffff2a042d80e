"""Which pooling of an encoder's positions a linear classifier tells classes from best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features import cache_features
from hf_transfer_kit.selection.advice.measuring import few_training_rows
from hf_transfer_kit.selection.measures.scores.probes import linear_accuracy

CANDIDATES = {
    "text": ("classifier", "mean", "first", "max"),
    "audio": ("mean", "max", "statistics"),
}
"""What is compared, by what networks read. Of texts what transformers' classifier reads, and three poolings of
positions (first: the place of CLS); its classifiers of sounds read a projection of the mean, of random weights."""


@dataclass(frozen=True)
class PoolingChoice:
    """The pooling that was found.

    Args:
        pooling: As ``load_model`` takes it.
        accuracy: Pooling -> accuracy of the probe over its folds, in [0, 1].
        rows: How many training rows were asked.

    Example:
        >>> str(PoolingChoice("mean", {"classifier": 0.5, "mean": 0.75}, 1000))
        'The head reads mean: of 1,000 training rows a linear probe tells classifier 50.0, mean 75.0 %.'
    """

    pooling: str
    accuracy: Mapping[str, float]
    rows: int

    def __str__(self) -> str:
        found = ", ".join(f"{name} {100 * value:.1f}" for name, value in self.accuracy.items())
        return f"The head reads {self.pooling}: of {self.rows:,} training rows a linear probe tells {found} %."


def choose_pooling(
    make_model: Callable[[str], PreTrainedModel],
    data: PreparedData,
    *,
    max_rows: int = 1000,
    batch_size: int = 64,
    seed: int = 0,
    cache_dir: str | Path | None = None,
) -> PoolingChoice:
    """Compares poolings of one encoder by logistic regression on training rows, cross-validated; nothing is trained.

    Args:
        make_model: Pooling -> classifier, as ``load_model(pooling=...)`` loads it.
        data: Prepared texts or sounds with classes; training rows alone are read.
        max_rows: At most about so many, stratified.
        batch_size: Rows a forward.
        seed: Of the rows and folds.
        cache_dir: Where features are kept.

    Raises:
        SettingsError: When the data holds no texts or sounds with classes.
        DataError: When no class has two rows.
    """
    if data.reads not in CANDIDATES or data.task_type != CLASSIFICATION:
        raise SettingsError(
            f"A pooling is chosen by a probe for texts or sounds with classes, and this is {data.task_type} of "
            f"{data.reads}. Leave --pooling out."
        )
    rows, places = few_training_rows(data, max_rows, seed=seed)
    labels = np.asarray(data.train.classes)[places]
    accuracy = {}
    for pooling in CANDIDATES[data.reads]:
        cached = cache_features(
            make_model(pooling),
            rows,
            collator=data.collator,
            batch_size=batch_size,
            cache_dir=cache_dir,
            progress=False,
        )
        accuracy[pooling] = linear_accuracy(np.asarray(cached.features), labels, seed=seed)
    return PoolingChoice(max(accuracy, key=lambda pooling: accuracy[pooling]), accuracy, len(places))
