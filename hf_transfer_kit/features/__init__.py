"""Computed once: features and boundaries kept on disk, probes on them, and fingerprints that say when to do it anew."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.features.building import build_store
    from hf_transfer_kit.features.cache_boundaries import CachedBoundaries, cache_boundaries
    from hf_transfer_kit.features.cache_features import cache_features
    from hf_transfer_kit.features.cache_prefix import CachedPrefix, cache_prefix
    from hf_transfer_kit.features.cached_features import CachedFeatures
    from hf_transfer_kit.features.fingerprints import (
        combined,
        data_fingerprint,
        transform_fingerprint,
        weights_fingerprint,
    )
    from hf_transfer_kit.features.linear_probe import LinearProbe, linear_probe
    from hf_transfer_kit.features.row_blocks import memory_limit
    from hf_transfer_kit.features.shards import Column
    from hf_transfer_kit.features.solved_heads import SolvedHead, solve_head
    from hf_transfer_kit.features.store import Store, default_cache_dir, find_store

__all__ = [
    "CachedBoundaries",
    "CachedFeatures",
    "CachedPrefix",
    "Column",
    "LinearProbe",
    "SolvedHead",
    "Store",
    "build_store",
    "cache_boundaries",
    "cache_features",
    "cache_prefix",
    "combined",
    "data_fingerprint",
    "default_cache_dir",
    "find_store",
    "linear_probe",
    "memory_limit",
    "solve_head",
    "transform_fingerprint",
    "weights_fingerprint",
]

load_when_used(__name__)
