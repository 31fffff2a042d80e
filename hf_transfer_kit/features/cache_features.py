"""The network as a fixed feature extractor: each row's features are computed once and kept on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import default_data_collator

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.pooling import POOLINGS
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.splitting.sample import usual_device
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.body_fingerprint import body_fingerprint
from hf_transfer_kit.features.building import build_store
from hf_transfer_kit.features.cached_features import FEATURES, CachedFeatures
from hf_transfer_kit.features.feature_pass import FeaturePass
from hf_transfer_kit.features.fingerprints import combined, data_fingerprint, transform_fingerprint
from hf_transfer_kit.features.fixed_batches import FixedBatches
from hf_transfer_kit.features.layer_output import LayerOutput, Tap, find_tap
from hf_transfer_kit.features.precision import check_dtype
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.features.shards import Column
from hf_transfer_kit.features.store import Store, default_cache_dir, find_store
from hf_transfer_kit.near_names import did_you_mean

_FORMAT = 2


@checked_arguments()
def cache_features(
    model: nn.Module,
    dataset: Any,
    *,
    layer: str | int = "pooled",
    pooling: str | None = None,
    collator: Callable[[list], Mapping[str, Any]] | None = None,
    batch_size: int = 32,
    dtype: str = "float32",
    cache_dir: str | Path | None = None,
    fingerprint: str | None = None,
    keep_columns: Sequence[str] = ("labels",),
    progress: bool = True,
) -> CachedFeatures:
    """Features of every row, from disk where they were computed before.

    The network runs in evaluation mode without gradients; its modes, hooks and the random state are afterwards as they
    were. Random transforms of the data are drawn once. Batches have fixed places, so that the result depends neither on
    the number of processes nor on where a run was stopped; a run that was stopped goes on from there. Under
    ``torch.distributed`` every process calls this with the same arguments and computes its share.

    The cache is chosen by weights and settings of the network before its head, versions of torch, transformers and
    timm, the data, the collator, ``layer``, ``pooling``, ``dtype`` and ``keep_columns``: when one changes, so does the
    cache. Another ``batch_size`` changes no more than rounding (and padding, for speech networks without a mask), so
    it is no reason to compute anew.

    Args:
        model: A model of transformers or timm, bare or wrapped, or another module.
        dataset: With a length and indices, as Trainer reads it.
        layer: ``"pooled"``, what enters the head's first layer with parameters (the mean over positions where it still
            has some, without padding; the model's own output where it has no head); or the name or depth of a layer
            group before the head.
        pooling: ``"mean"``, ``"first"``, ``"last"`` or ``"max"`` of what is no padding; None keeps a layer group's
            positions: (C, H, W) or (H, W, C) a picture, (T, D) without padding a text or sound.
        collator: Rows -> batch, as Trainer's; None takes transformers' default one.
        batch_size: Rows of a forward, 1 or more.
        dtype: ``"float32"``, ``"float16"`` or ``"bfloat16"`` on disk.
        cache_dir: Folder of all caches; None: ``$HF_TRANSFER_KIT_CACHE``, else beside those of ``datasets``.
        fingerprint: Stands for data and collator where they cannot be told apart by their contents.
        keep_columns: Columns of the collated batch to keep beside the features; labels only where there are some.
        progress: Whether a bar is shown.

    Raises:
        SettingsError: When an argument is out of range or names no layer.
        ModelError: When the model has no weights, lies on several devices, or the layer gives no row for each row.
        DataError: When the data is a stream, empty, changes its length, does not fit the model, holds values too large
            for ``dtype``, or the folder cannot be written; no incomplete cache is left that looks complete.

    Example:
        >>> cached = cache_features(model, train, collator=collator, cache_dir="cache", progress=False)
        >>> cached.features.shape, cached[0]["features"].shape
        ((12, 16), torch.Size([16]))
    """
    check_settings(pooling, batch_size, dtype, keep_columns)
    network, _ = plain_model(model)
    device = usual_device(network)
    ranks = Ranks()
    collate = collator or default_data_collator
    fixed = FixedBatches(dataset, collate, batch_size=batch_size, device=device)
    batches = FeaturePass(fixed, keep_columns=keep_columns)
    with seeded_eval_mode(network, seed=0):
        tap = ranks.on_all_ranks(lambda: find_tap(network, layer, example_inputs=lambda: fixed(0)))
    if fingerprint is None:
        fingerprint = combined(data_fingerprint(dataset), transform_fingerprint(collate))
    settings = {
        "layer": tap.name,
        "taken": tap.modules[0] if tap.is_input else None,
        "pooling": pooling,
        "dtype": dtype,
        "keep_columns": list(keep_columns),
        "body": body_fingerprint(network),
        "data": fingerprint,
        "format": _FORMAT,
    }
    key = f"features-{combined(settings)}"
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    if ranks.broadcast_from_main(lambda: find_store(folder, key) is not None):
        return CachedFeatures(cast(Store, ranks.on_all_ranks(lambda: find_store(folder, key))))  # found just now

    started = time.perf_counter()
    with seeded_eval_mode(network, seed=0), hooked(network, tap, pooling, keep_columns) as output:
        columns = ranks.on_all_ranks(lambda: batches.columns(output, dtype))
        store = build_store(
            folder,
            key,
            columns,
            fixed.places,
            partial(batches.compute, output),
            rows_per_shard=fixed.per_shard(_row_bytes(columns[0])),
            metadata={**settings, "positions": batches.has_positions},
            progress="Features" if progress else None,
        )
    return CachedFeatures(store, seconds=time.perf_counter() - started)


@contextmanager
def hooked(network: nn.Module, tap: Tap, pooling: str | None, without: Sequence[str]) -> Iterator[LayerOutput]:
    """What hears a layer's output while the block runs."""
    output = LayerOutput(network, tap, pooling=pooling, without=without)
    try:
        yield output
    finally:
        output.remove()


def check_settings(pooling: str | None, batch_size: int, dtype: str, keep_columns: Sequence[str]) -> None:
    """Refuses what is out of range or unknown.

    Raises:
        SettingsError: With what is allowed.
    """
    if pooling is not None and pooling not in POOLINGS:
        raise SettingsError(
            f"pooling={pooling!r} is unknown; choose {', '.join(map(repr, POOLINGS))} or None."
            f"{did_you_mean(pooling, POOLINGS)}"
        )
    if batch_size < 1:
        raise SettingsError(f"batch_size={batch_size}, but a batch has 1 row or more.")
    check_dtype(dtype)
    if isinstance(keep_columns, str) or FEATURES in keep_columns:
        raise SettingsError(
            f"keep_columns={keep_columns!r}: give a list of names of the collated batch, without {FEATURES!r}."
        )


def _row_bytes(features: Column) -> int:
    """Bytes of a row, about: of texts a long one."""
    return features.row_bytes or 1024 * (features.shape[-1] or 1) * 4
