"""How well a network suits new data, from features alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.feature_maps import head_input, logits_layer
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.features import CachedFeatures, cache_features
from hf_transfer_kit.features.probe_rows import Features, feature_rows, labelled_rows, number_array
from hf_transfer_kit.features.row_blocks import row_blocks, rows_at_once, slices
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection.measures.scores import FEATURE_SCORES, SOURCE_CLASS_SCORES
from hf_transfer_kit.selection.measures.scores.half_samples import half_sample_error
from hf_transfer_kit.values import Score, Transferability

NAMES = (*FEATURE_SCORES, *SOURCE_CLASS_SCORES)


@checked_arguments()
def transferability(
    features_or_model: Features | nn.Module,
    labels: Sequence[int] | np.ndarray | Tensor | None = None,
    *,
    dataset: Any = None,
    collator: Callable | None = None,
    source_probabilities: np.ndarray | Tensor | None = None,
    scores: Sequence[str] = NAMES,
    draws: int = 10,
    seed: int = 0,
    **caching: Any,
) -> Transferability:
    """Scores of how well a network's features suit labelled rows; higher is better in all of them.

    ``log_me`` (You et al. 2021), ``h_score`` (Bao et al. 2019, regularised as Ibrahim et al. 2022), ``trans_rate``
    (Huang et al. 2022), ``knn_accuracy`` and ``probe_accuracy`` over folds read features; ``leep`` (Nguyen et al. 2020)
    and ``nce`` (Tran et al. 2019) the old classes' probabilities. Sums run in float64; rows may be fewer than features,
    and classes unequal. Rows are read in blocks within ``memory_limit``, without a copy of float32 or float64 features;
    for ``probe_accuracy`` scikit-learn is given one of four of five folds.

    Args:
        features_or_model: ``cache_features(...)``, an array or tensor of shape (N, D), or a model with its old head.
        labels: Class of each row, of shape (N,); None takes those cached with the features or those of ``dataset``.
        dataset: Of a model: its rows, with labels, as Trainer reads them.
        collator: Of a model: rows -> batch.
        source_probabilities: Of the classes the network was trained for, of shape (N, Z), for ``leep`` and ``nce``; a
            model whose head is one layer gives them itself.
        scores: Which to compute.
        draws: Random halves of the rows that the standard errors come from; 0 for none.
        seed: Of folds and halves.
        **caching: Of a model: passed to ``cache_features``, such as ``batch_size`` and ``cache_dir``.

    Raises:
        SettingsError: When a score is unknown, arguments do not belong together, or a ``memory_limit`` is too little.
        DataError: When rows are not finite, do not fit each other, are fewer than their classes, or all of one class.

    Example:
        >>> found = transferability(features, labels, draws=2)
        >>> found.scores["knn_accuracy"].value > 0.8
        True
    """
    if not scores:
        raise SettingsError(f"scores is empty; name one or more of {', '.join(NAMES)}.")
    if unknown := [name for name in scores if name not in NAMES]:
        raise SettingsError(
            f"scores={unknown} are unknown; choose among {', '.join(NAMES)}.{did_you_mean(unknown[0], NAMES)}"
        )
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 0 or draws == 1:
        raise SettingsError(f"draws={draws!r} is out of range; give 0 for no errors, or a whole number of 2 or more.")
    left_out: dict[str, str] = {}
    if isinstance(features_or_model, nn.Module):
        if dataset is None:
            raise SettingsError("A model needs rows to be judged by: give dataset=, with labels, and its collator=.")
        cached = cache_features(features_or_model, dataset, collator=collator, **caching)
        if source_probabilities is None and set(scores) & set(SOURCE_CLASS_SCORES):
            source_probabilities, reason = head_probabilities(features_or_model, cached)
            left_out = {} if reason is None else dict.fromkeys(SOURCE_CLASS_SCORES, reason)
        features_or_model = cached
    elif dataset is not None or collator is not None or caching:
        raise SettingsError("dataset=, collator= and what cache_features takes belong to a model, not to features.")
    rows = labelled_rows(features_or_model, labels, name="features", training=True)
    classes = len(np.unique(rows.labels))
    if len(rows.labels) <= classes:
        raise DataError(
            f"There are {len(rows.labels)} rows of {classes} classes; scores compare rows of one class with those of "
            "others, so give more rows than classes."
        )
    sources = _checked_probabilities(source_probabilities, len(rows.labels))
    if sources is None and not left_out:
        left_out = dict.fromkeys(SOURCE_CLASS_SCORES, "no probabilities of source classes were given")
    found: dict[str, Score] = {}
    for name in scores:
        function = FEATURE_SCORES.get(name) or SOURCE_CLASS_SCORES[name]
        inputs = rows.features if name in FEATURE_SCORES else sources
        if inputs is None:
            continue
        try:
            found[name] = _with_error(function, inputs, rows.labels, draws=draws, seed=seed)
        except DataError as error:
            left_out[name] = str(error)
    kept = {name: reason for name, reason in left_out.items() if name in scores and name not in found}
    return Transferability(found, len(rows.labels), classes, rows.width, kept)


def head_probabilities(model: nn.Module, features: CachedFeatures) -> tuple[np.ndarray | None, str | None]:
    """Probabilities of the model's own classes from its pooled features, or None and the reason.

    Args:
        model: With the head it was trained with.
        features: What enters the head, ``layer="pooled"``.

    Returns:
        Of shape (N, Z), and None; or None and why not.
    """
    try:
        name, layer = logits_layer(model)
        entered, module = head_input(model)
    except ModelError as error:
        return None, str(error)
    if module is not layer:
        return None, f"the head of {type(model).__name__} is more than the layer {name!r}: features enter {entered!r}"
    rows = feature_rows(features)
    found = np.empty((len(rows), layer.out_features))
    size = rows_at_once(8 * (rows.shape[1] + 3 * layer.out_features), what="the network's own classes")
    with torch.no_grad():
        for place in slices(len(rows), size):
            logits = layer(torch.from_numpy(rows[place]).to(layer.weight))
            found[place] = torch.softmax(logits.double(), dim=1).cpu().numpy()
    return found, None


def _with_error(function: Callable, inputs: np.ndarray, labels: np.ndarray, *, draws: int, seed: int) -> Score:
    value = float(function(inputs, labels))
    if not draws:
        return Score(value)
    try:
        error = half_sample_error(lambda rows: function(inputs[rows], labels[rows]), labels, draws=draws, seed=seed)
    except DataError:  # halves too small for folds
        error = None
    return Score(value, error)


def _checked_probabilities(given: np.ndarray | Tensor | None, rows: int) -> np.ndarray | None:
    if given is None:
        return None
    plain = given.detach().cpu() if isinstance(given, Tensor) else given
    if isinstance(plain, Tensor):
        plain = plain.float().numpy() if plain.dtype in (torch.float16, torch.bfloat16) else plain.numpy()
    found = number_array(plain, what="source_probabilities")
    if found.ndim != 2 or len(found) != rows:
        raise DataError(f"source_probabilities have the shape {found.shape}; give ({rows}, source classes).")
    size = rows_at_once(8 * 3 * found.shape[1], what="looking at source_probabilities")
    for _, block in row_blocks(found, size):
        if not np.isfinite(block).all() or (block < 0).any() or not np.allclose(block.sum(1), 1, atol=1e-3):
            raise DataError("source_probabilities must be 0 or more and sum to 1 in each row; apply softmax to logits.")
    return found


def probe_gain(pretrained: Mapping[str, Score], random: Mapping[str, Score]) -> float:
    """Probe accuracy on a network's features less that on features of the same network with random weights."""
    return pretrained["probe_accuracy"].value - random["probe_accuracy"].value
