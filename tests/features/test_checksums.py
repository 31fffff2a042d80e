"""What is hashed, when, and that it is once."""

import os
import pickle

import pytest
import xxhash
from features.test_building import build, flip

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.features import Store, checksums, find_store
from hf_transfer_kit.features.store import Layout


def test_the_hash_is_that_of_the_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "_PIECE", 7)
    (tmp_path / "file").write_bytes(bytes(range(100)))
    assert checksums.file_hash(tmp_path / "file") == xxhash.xxh3_128_hexdigest(bytes(range(100)))


def test_a_process_hashes_a_cache_once_and_again_when_a_file_was_touched(tmp_path, monkeypatch):
    store = build(tmp_path)
    hashed = []
    measure = checksums.file_hash
    monkeypatch.setattr(checksums, "file_hash", lambda file: hashed.append(file.name) or measure(file))
    find_store(tmp_path, "k")
    build(tmp_path)
    assert hashed == []
    os.utime(store.path / "shard-00002.arrow", (1, 1))
    find_store(tmp_path, "k")
    assert len(hashed) == store.layout.shards
    flip(store.path / "shard-00002.arrow")
    with pytest.raises(DataError, match=r"shard-00002\.arrow is damaged \(it holds other bytes than were written\)"):
        find_store(tmp_path, "k")


def test_a_store_that_was_sent_is_not_hashed_again(tmp_path, monkeypatch):
    sent = pickle.dumps(build(tmp_path))
    monkeypatch.setattr(checksums, "_checked", {})
    monkeypatch.setattr(checksums, "file_hash", None)
    assert len(pickle.loads(sent)) == 30
    with pytest.raises(TypeError):
        Store(tmp_path / "k")


def test_rows_per_shard_0_is_a_settings_error():
    with pytest.raises(SettingsError, match="rows=3 and rows_per_shard=0"):
        Layout((), 3, 0)
