"""Computed once: rows of tensors kept on disk, and fingerprints that say when they must be computed anew."""

from hf_transfer_kit.features.building import build_store
from hf_transfer_kit.features.fingerprints import combined, data_fingerprint, transform_fingerprint, weights_fingerprint
from hf_transfer_kit.features.shards import Column
from hf_transfer_kit.features.store import Store, default_cache_dir, find_store

__all__ = [
    "Column",
    "Store",
    "build_store",
    "combined",
    "data_fingerprint",
    "default_cache_dir",
    "find_store",
    "transform_fingerprint",
    "weights_fingerprint",
]
