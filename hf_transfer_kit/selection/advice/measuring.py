"""What is measured of a case before a plan is made: two passes over some rows, and probes on the features."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import cast

import numpy as np
from torch.utils.data import Dataset, Subset
from transformers import PreTrainedModel

from hf_transfer_kit.backbones import reinitialize
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features import CachedFeatures, cache_features, default_cache_dir
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.finetuning.running import to_channels_last
from hf_transfer_kit.selection.measures.scores.leave_one_out import leave_one_out_accuracy, leave_one_out_scores
from hf_transfer_kit.selection.measures.scores.suspected_labels import suspected_rows
from hf_transfer_kit.values import CaseMeasures, SuspectedLabel

_SHARE = 0.1
"""Rows each of two passes sees, as a share of those a run trains on; training on a row costs about three passes."""
_MOST_ROWS = 500
"""Beyond, probes would cost more than they tell: the accuracy of 500 rows has an error of two points."""
_DRAWS = 3


def measure_case(
    model: PreTrainedModel,
    data: PreparedData,
    budget: Budget,
    *,
    batch_size: int = 64,
    seed: int = 0,
    cache_dir: str | Path | None = None,
) -> CaseMeasures:
    """Size of the training split and its likeness to what the network knows.

    Args:
        model: Pretrained, with any head; not changed.
        data: Prepared splits, of which the training rows alone are read.
        budget: What a run may spend: measuring spends about a fourteenth of it.
        batch_size: Rows a forward.
        seed: Of the rows, folds and random weights.
        cache_dir: Where features of the pretrained network are kept; those of random weights are not.

    Raises:
        DataError: When there is one class, or no class has two rows.

    Example:
        >>> measure_case(model, data, budget).rows
        24
    """
    started = time.perf_counter()
    labels = np.asarray(data.train.classes)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.max() < 2:
        found = "one class" if len(classes) < 2 else "one row a class"
        raise DataError(f"The training rows hold {found}; to advise, give two classes or more, one of them two rows.")
    most = max(min(round(_SHARE * budget.max_steps * budget.batch_size), _MOST_ROWS), 2 * len(classes))
    rows, chosen = few_training_rows(data, most, seed=seed)
    to_channels_last(model, data)

    def features(network: PreTrainedModel, folder: str | Path | None) -> CachedFeatures:
        return cache_features(
            network, rows, collator=data.collator, batch_size=batch_size, cache_dir=folder, progress=False
        )

    known = features(model, cache_dir).features
    with Ranks().temporary_folder(default_cache_dir()) as folder:
        random = features(
            cast(PreTrainedModel, reinitialize(copy.deepcopy(model), all=True, seed=seed)), folder
        ).features
    own = labels[chosen]
    scores, index, present = leave_one_out_scores(known, own)
    names = [data.label_names[place] for place in present]
    halves = [stratified_rows(own, len(own) // 2, seed=seed + draw) for draw in range(_DRAWS)]
    return CaseMeasures(
        rows=len(labels),
        classes=len(data.label_names),
        smallest_class=int(np.bincount(labels, minlength=len(data.label_names)).min()),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        modality=data.modality,
        measured_rows=len(chosen),
        probe_accuracy=float(np.mean(scores.argmax(1) == index)),
        half_accuracy=float(np.mean([leave_one_out_accuracy(known[half], own[half]) for half in halves])),
        random_accuracy=leave_one_out_accuracy(random, own),
        seconds=time.perf_counter() - started,
        suspected=tuple(
            SuspectedLabel(int(chosen[row]), names[index[row]], names[likelier], margin)
            for row, likelier, margin in suspected_rows(scores, index)
        ),
    )


def few_training_rows(data: PreparedData, most: int, *, seed: int) -> tuple[Subset, np.ndarray]:
    """At most about ``most`` training rows, stratified, and their places; rising."""
    chosen = stratified_rows(np.asarray(data.train.classes), most, seed=seed)
    return Subset(cast(Dataset, data.train), chosen.tolist()), chosen


def stratified_rows(labels: np.ndarray, most: int, *, seed: int) -> np.ndarray:
    """At most about ``most`` rows, classes in their shares and each with at least one; rising."""
    if len(labels) <= most:
        return np.arange(len(labels))
    generator = np.random.default_rng(seed)
    share = most / len(labels)
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    chosen = [generator.permutation(own)[: max(1, round(share * len(own)))] for own in rows]
    return np.sort(np.concatenate(chosen))
