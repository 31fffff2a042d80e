"""Every boundary of a network from one pass, for training behind any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import default_data_collator

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.splitting import Split, find_split
from hf_transfer_kit.backbones.splitting.sample import Sample, make_sample, usual_device
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.features.body_fingerprint import prefix_fingerprint
from hf_transfer_kit.features.cache_prefix import (
    Boundaries,
    CachedPrefix,
    CacheOptions,
    attach_boundaries,
    build_boundaries,
)


@dataclass(frozen=True, eq=False)
class CachedBoundaries:
    """What crosses each of several cuts of one network.

    Args:
        depths: Depths that can be attached, rising.
        refused: Depths that cannot be split -> why.
        seconds: What the pass took; near 0 where everything was there.
        nbytes: On disk.
    """

    depths: tuple[int, ...]
    refused: Mapping[int, str]
    seconds: float
    nbytes: int
    _splits: Mapping[int, Split] = field(repr=False)
    _caches: Boundaries | None = field(repr=False)
    _sample: Sample = field(repr=False)

    def attach(self, model: nn.Module, k: int) -> CachedPrefix:
        """Makes ``model`` train behind its first k groups, on rows computed before.

        Args:
            model: A model whose first k groups hold the weights the pass was made with; its head may be another.
            k: One of ``depths``.

        Raises:
            SettingsError: When k was not cached.
            ModelError: When the weights differ, or the outputs of the two ways through the network do.
        """
        if k not in self.depths:
            why = f" ({self.refused[k]})" if k in self.refused else ""
            raise SettingsError(f"k={k} is not cached{why}; cached are {', '.join(map(str, self.depths)) or 'none'}.")
        caches = cast(Boundaries, self._caches)  # there are depths
        if prefix_fingerprint(model, k) != caches.prefixes[k]:
            raise ModelError(
                f"The first {k} layer groups of this {type(model).__name__} hold other weights than those the cache "
                "was made with. Load the model that was cached, or cache this one."
            )
        return attach_boundaries(model, self._splits[k], caches, self._sample)


@checked_arguments()
def cache_boundaries(
    model: nn.Module,
    datasets: Mapping[str, Any],
    depths: Sequence[int] | None = None,
    *,
    collator: Callable[[list], Mapping[str, Any]] | None = None,
    batch_size: int = 32,
    dtype: str = "float32",
    cache_dir: str | Path | None = None,
    cache_budget: int | float | str | None = None,
    fingerprint: str | None = None,
    progress: bool = True,
) -> CachedBoundaries:
    """Stores what crosses every cut in ONE pass over the data, streamed to disk.

    Args:
        model: As in ``cache_prefix``, like all other arguments.
        datasets: Name -> dataset.
        depths: Cuts to store; None takes all from 1 to the number of groups before the head. Depths that cannot be
            split are left out and listed in ``refused``.

    Raises:
        SettingsError: When an argument is not allowed, or the budget is exceeded.
        DataError: When a dataset is empty or changes its length, or the disk is full.

    Example:
        >>> cached = cache_boundaries(model, {"train": train}, collator=collator, cache_dir="cache", progress=False)
        >>> cached.depths
        (1, 2, 3)
    """
    if not datasets:
        raise SettingsError("cache_boundaries: there is no dataset; give one or more, by name.")
    options = CacheOptions(batch_size, dtype, cache_dir, cache_budget, fingerprint, progress)
    collate = collator or default_data_collator
    device = usual_device(model)
    wanted = range(1, len(layer_groups(model).body) + 1) if depths is None else depths
    splits, refused = {}, {}
    caches = None
    with seeded_eval_mode(model, seed=0):
        sample = make_sample(next(iter(datasets.values())), collate, device)
        for depth in wanted:
            try:
                splits[depth] = find_split(model, depth, sample)
            except ModelError as error:
                refused[depth] = str(error)
        if splits:
            caches = build_boundaries(model, splits, datasets, collate, options)
    return CachedBoundaries(
        depths=tuple(sorted(splits)),
        refused=refused,
        seconds=caches.seconds if caches else 0.0,
        nbytes=caches.nbytes if caches else 0,
        _splits=splits,
        _caches=caches,
        _sample=sample,
    )
