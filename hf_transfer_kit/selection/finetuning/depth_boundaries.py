"""What all depths of a search read: the outputs of the layer groups before them, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from hf_transfer_kit.data import SPLITS, PreparedData
from hf_transfer_kit.features import CachedBoundaries, cache_boundaries
from hf_transfer_kit.features.body_fingerprint import prefix_fingerprint
from hf_transfer_kit.features.cache_budget import bytes_of
from hf_transfer_kit.features.precision import check_dtype
from hf_transfer_kit.selection.finetuning.running import to_channels_last


def depth_boundaries(
    model: PreTrainedModel,
    make_model: Callable[[int], PreTrainedModel],
    data: PreparedData,
    depths: Sequence[int],
    direction: str,
    *,
    seeds: Sequence[int],
    cache_dir: str | Path | None,
    cache_budget: int | float | str | None,
    dtype: str,
) -> tuple[CachedBoundaries | None, tuple[str, ...]]:
    """The boundaries from one pass, and sentences about what has none.

    Args:
        model: The network of the first seed.
        make_model: Gives the network of a seed.
        data: The prepared splits.
        depths: Numbers of frozen groups.
        direction: ``"first"`` or ``"last"``.
        seeds: Of the runs; networks whose frozen groups hang on the seed share nothing.
        cache_dir: Folder of the cache, as for ``cache_boundaries`` like the two that follow.
        cache_budget: Bytes it may take; 0 uses none.
        dtype: What float32 tensors are stored as.
    """
    check_dtype(dtype)
    wanted = [depth for depth in depths if depth > 0]
    if direction == "last":
        return None, ("The layers that change come before those that are frozen, so nothing could be computed once.",)
    if data.describe.get("augmented"):
        return None, ("Training rows are augmented anew each time, so nothing was computed once.",)
    if not wanted or (cache_budget is not None and bytes_of(cache_budget) == 0):
        return None, ()
    deepest = max(wanted)
    first = prefix_fingerprint(model, deepest)
    if any(prefix_fingerprint(make_model(seed), deepest) != first for seed in seeds[1:2]):  # as random weights do
        return None, ("Each seed begins with other weights before the head, so nothing could be computed once.",)
    datasets = {split: getattr(data, split) for split in SPLITS}
    to_channels_last(model, data)
    caches = cache_boundaries(
        model,
        datasets,
        wanted,
        collator=data.collator,
        cache_dir=cache_dir,
        cache_budget=cache_budget,
        dtype=dtype,
    )
    return caches, tuple(f"Depth {depth} was trained uncached: {why}" for depth, why in caches.refused.items())
