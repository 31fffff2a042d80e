"""The first layers of a network computed once for each row; the rest trains on what they gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from transformers import default_data_collator

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.splitting import Split, SuffixMode, check_split, find_split
from hf_transfer_kit.backbones.splitting.sample import Sample, make_sample, usual_device
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.features.body_fingerprint import prefix_fingerprint
from hf_transfer_kit.features.boundary_pass import BoundaryPass
from hf_transfer_kit.features.building import build_store
from hf_transfer_kit.features.cache_budget import check_budget, check_disk, readable_bytes
from hf_transfer_kit.features.cached_rows import CachedCollator, CachedRows, make_collator
from hf_transfer_kit.features.fingerprints import combined, data_fingerprint, transform_fingerprint
from hf_transfer_kit.features.fixed_batches import FixedBatches
from hf_transfer_kit.features.layer_output import learn_inputs
from hf_transfer_kit.features.precision import check_dtype
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.features.store import Store, default_cache_dir, find_store
from hf_transfer_kit.near_names import did_you_mean

_FORMAT = 2
# Largest difference of the outputs, relative to the largest output, by what the cache is stored as.
_TOLERANCE = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}


@dataclass(frozen=True)
class CacheOptions:
    """How and where boundaries are stored; see ``cache_prefix``."""

    batch_size: int = 32
    dtype: str = "float32"
    cache_dir: str | Path | None = None
    cache_budget: int | float | str | None = None
    fingerprint: str | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        if self.batch_size < 1:
            raise SettingsError(f"batch_size={self.batch_size}, but a batch has 1 row or more.")


@dataclass(frozen=True, eq=False)
class CachedPrefix:
    """A model that trains behind its cut, and the rows it trains on.

    Args:
        model: The model itself. While the cache is attached its forward takes cached rows, and ordinary ones as ever;
            its checkpoints are ordinary checkpoints of the whole model.
        split: The cut.
        datasets: Name -> cached rows; one named ``""`` where one dataset was given.
        collator: For ``Trainer(data_collator=...)``.
        nbytes: On disk.
        seconds: What computing took; near 0 where everything was there.
    """

    model: nn.Module
    split: Split
    datasets: Mapping[str, CachedRows]
    collator: CachedCollator
    nbytes: int
    seconds: float
    mode: SuffixMode = field(repr=False)

    @property
    def dataset(self) -> CachedRows:
        """The cached rows, where one dataset was given."""
        return self.datasets[""]

    def __getitem__(self, name: str) -> CachedRows:
        return self.datasets[name]

    def rejoin(self) -> nn.Module:
        """Takes the cache off: the model is whole and ordinary again, its first part trainable as it was before."""
        return self.mode.off()

    def __enter__(self) -> CachedPrefix:
        return self

    def __exit__(self, *exception: object) -> None:
        self.rejoin()


@checked_arguments()
def cache_prefix(
    model: nn.Module,
    k: int,
    dataset: Any,
    *,
    collator: Callable[[list], Mapping[str, Any]] | None = None,
    batch_size: int = 32,
    dtype: str = "float32",
    views: int | Mapping[str, int] = 1,
    cache_dir: str | Path | None = None,
    cache_budget: int | float | str | None = None,
    fingerprint: str | None = None,
    progress: bool = True,
) -> CachedPrefix:
    """Computes what the first k layer groups give for every row once, and makes the model train on that.

    The groups are frozen, in evaluation mode. What the rest of the network reads of them is found by gradients and kept
    on disk (memory-mapped, reused by later runs, complete or not there at all); both ways through the network are
    compared on the first rows. ``rejoin`` makes the model ordinary again. Under ``torch.distributed`` every process
    calls this and computes its share.

    The cache is chosen by the weights, buffers and settings of the first k groups (not of the rest), the data, the
    collator, k, dtype, views and the versions of torch, transformers and timm.

    Args:
        model: A model for Trainer, or a timm network. Not wrapped.
        k: Number of groups, 1 to the number before the head (the network as a fixed feature extractor).
        dataset: A map-style dataset as Trainer takes it, or several by name: ``{"train": ..., "test": ...}``.
        collator: Trainer's data collator; by default transformers' own.
        batch_size: Rows a forward.
        dtype: What float32 tensors are stored as: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
        views: Versions of each row, for datasets that augment at random; one is drawn each time. A mapping gives the
            number by name of the dataset, 1 for those it leaves out.
        cache_dir: Folder of all caches; by default ``$HF_TRANSFER_KIT_CACHE``, else in that of ``datasets``.
        cache_budget: Bytes the cache may take, such as ``"4GB"``; None allows what the disk has.
        fingerprint: A text that stands for the data where that cannot be told from the dataset.
        progress: Say how large the cache will be, and show a bar.

    Raises:
        SettingsError: When an argument is not allowed, or the budget is exceeded; the sentence names the choices.
        ModelError: When the model cannot be split there, or lies on several devices; the module is named.
        DataError: When the dataset is empty or changes its length, or the disk is full; finished caches stay.

    Example:
        >>> cached = cache_prefix(model, 2, {"train": train}, collator=collator, cache_dir="cache", progress=False)
        >>> trainer = Trainer(model, args, train_dataset=cached["train"], data_collator=cached.collator)
        >>> _ = trainer.train()
        >>> cached.rejoin() is model
        True
    """
    options = CacheOptions(batch_size, dtype, cache_dir, cache_budget, fingerprint, progress)
    named = dict(dataset) if isinstance(dataset, Mapping) else {"": dataset}
    if not named:
        raise SettingsError("cache_prefix: there is no dataset; give rows, or one or more of them by name.")
    collate = collator or default_data_collator
    device = usual_device(model)
    with seeded_eval_mode(model, seed=0):
        sample = make_sample(next(iter(named.values())), collate, device)
        learn_inputs(model, lambda: sample.alone)
        split = find_split(model, k, sample)
        caches = build_boundaries(model, {k: split}, named, collate, options, views=views)
    return attach_boundaries(model, split, caches, sample)


@dataclass(frozen=True)
class Boundaries:
    """Stores of one or several cuts of one network, by name of the dataset."""

    stores: Mapping[str, Store]
    views: Mapping[str, int]
    dtype: str
    seconds: float
    prefixes: Mapping[int, str]

    @property
    def nbytes(self) -> int:
        """On disk."""
        return sum(store.nbytes for store in self.stores.values())


def build_boundaries(
    model: nn.Module,
    splits: Mapping[int, Split],
    datasets: Mapping[str, Any],
    collate: Callable[[list], Mapping[str, Any]],
    options: CacheOptions,
    *,
    views: int | Mapping[str, int] = 1,
) -> Boundaries:
    """Stores with all columns of the given splits, one for each dataset, computed where they are not there.

    The model must be ``seeded_eval_mode`` meanwhile.
    """
    started = time.perf_counter()
    device = usual_device(model)
    if isinstance(views, Mapping) and (unknown := sorted(map(str, set(views) - set(datasets)))):
        raise SettingsError(
            f"views names {unknown[0]!r}, which is no dataset; there are {', '.join(map(repr, datasets))}."
            f"{did_you_mean(unknown[0], list(map(str, datasets)))}"
        )
    views = {name: views if isinstance(views, int) else views.get(name, 1) for name in datasets}
    if min(views.values()) < 1:
        raise SettingsError(f"views={views}, but each row has 1 version or more.")
    prefixes = {depth: prefix_fingerprint(model, depth) for depth in splits}
    cache_dir = options.cache_dir or default_cache_dir()
    jobs = {}
    for name, data in datasets.items():
        batches = FixedBatches(data, collate, batch_size=options.batch_size, device=device, views=views[name])
        data_key = options.fingerprint and f"{options.fingerprint}/{name}"
        key = combined(
            *prefixes.values(),
            data_key or data_fingerprint(data),
            transform_fingerprint(collate),
            {"format": _FORMAT, "depths": sorted(splits), "dtype": options.dtype, "views": views[name]},
        )
        jobs[name] = (key, BoundaryPass(model, list(splits.values()), batches, dtype=options.dtype))
    missing = {name: job for name, job in jobs.items() if find_store(cache_dir, job[0]) is None}
    needed = sum(job.bytes_per_row * job.batches.places for _, job in missing.values())
    what = f"{_depths(splits)} of {sum(len(data) for data in datasets.values()):,} rows"
    check_budget(needed, options.cache_budget, what=what, dtype=options.dtype, views=max(views.values()))
    check_disk(needed, cache_dir, what=what)
    if missing and options.progress and Ranks().rank == 0:
        print(f"Caching {what}: about {readable_bytes(needed)} in {cache_dir}.")
    stores = {
        name: build_store(
            cache_dir,
            key,
            job.columns(),
            job.batches.places,
            job.compute,
            rows_per_shard=job.batches.per_shard(job.bytes_per_row),
            metadata={"depths": sorted(splits), "views": views[name], "dtype": options.dtype},
            progress=f"Caching {name}".strip() if options.progress else None,
        )
        for name, (key, job) in jobs.items()
    }
    return Boundaries(stores, views, options.dtype, time.perf_counter() - started, prefixes)


def attach_boundaries(model: nn.Module, split: Split, caches: Boundaries, sample: Sample) -> CachedPrefix:
    """The model in suffix mode on stored rows, after both ways through it were compared on the sample."""
    rows = {name: CachedRows(store, split, views=caches.views[name]) for name, store in caches.stores.items()}
    collator = make_collator(split, model, sample.batch)
    mode = SuffixMode(model, split).on()
    cached = CachedPrefix(model, split, rows, collator, caches.nbytes, caches.seconds, mode)
    try:
        _compare(cached, next(iter(rows)), sample, caches.dtype)
    except BaseException:
        mode.off()
        raise
    return cached


def _compare(cached: CachedPrefix, name: str, sample: Sample, dtype: str) -> None:
    """Stored rows against the whole network: together, and the first one alone, where padding could matter."""
    if cached.datasets[name].views > 1:
        return  # the sample was drawn anew, so it is none of the stored versions; find_split compared the two ways
    for rows, batch in ((sample.rows, sample.batch), (sample.rows[:1], sample.alone)):
        device = next(iter(batch.values())).device
        stored = {k: v.to(device) for k, v in cached.collator(cached.datasets[name].__getitems__(rows)).items()}
        try:
            check_split(cached.mode, batch, stored, tolerance=_TOLERANCE[dtype], compare_gradients=dtype == "float32")
        except ModelError as error:
            if not cached.split.is_variable:
                raise
            # find_split saw both ways agree on one batch, so it is how far the rows are padded that matters.
            raise ModelError(
                f"{error} It gives other outputs when a row is padded further, so what is computed once does not fit "
                "every batch; a collator that pads all rows to one length would do."
            ) from error


def _depths(depths: Collection[int]) -> str:
    return f"the first {min(depths)} layer groups" if len(depths) == 1 else f"{len(depths)} boundaries"
