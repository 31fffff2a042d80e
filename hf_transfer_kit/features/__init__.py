"""Computed once: features kept on disk, probes on them, and fingerprints that say when they must be computed anew."""

from hf_transfer_kit.features.building import build_store
from hf_transfer_kit.features.cache_boundaries import CachedBoundaries, cache_boundaries
from hf_transfer_kit.features.cache_features import cache_features
from hf_transfer_kit.features.cache_prefix import CachedPrefix, cache_prefix
from hf_transfer_kit.features.cached_features import CachedFeatures
from hf_transfer_kit.features.linear_probe import LinearProbe, linear_probe
from hf_transfer_kit.features.shards import Column
from hf_transfer_kit.features.store import Store, default_cache_dir, find_store

__all__ = [
    "CachedBoundaries",
    "CachedFeatures",
    "CachedPrefix",
    "Column",
    "LinearProbe",
    "Store",
    "build_store",
    "cache_boundaries",
    "cache_features",
    "cache_prefix",
    "default_cache_dir",
    "find_store",
    "linear_probe",
]
