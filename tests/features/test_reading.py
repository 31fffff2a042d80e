"""Reading a store again and again does not make its files this process's memory."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features import Column, build_store


def resident_files() -> int:
    """MiB of mapped files that are resident."""
    return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="resident files are counted as Linux counts them")
def test_reading_160_mib_keeps_less_than_20_of_them_and_every_value(tmp_path):
    def compute(start, stop):
        return {"x": torch.arange(start, stop).float()[:, None].expand(-1, 5120)}

    store = build_store(tmp_path, "k", [Column("x", "float32", (5120,))], 8192, compute, rows_per_shard=1000)
    before = resident_files()
    for _ in range(2):
        for rows in np.array_split(np.random.permutation(8192), 128):
            taken = store.gather(rows)["x"]
            assert torch.equal(taken[:, [0, -1]], torch.from_numpy(rows).float()[:, None].expand(-1, 2))
            assert resident_files() - before < 20


def test_a_file_that_was_cut_off_or_deleted_meanwhile_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_transfer_kit.features.store.IN_PLACE_LIMIT", 0)
    columns = [Column("x", "float32", (100,))]
    store = build_store(tmp_path, "k", columns, 8, lambda a, b: {"x": torch.ones(b - a, 100)}, rows_per_shard=4)
    file = store.path / "shard-00001.arrow"
    whole = file.read_bytes()
    file.write_bytes(whole[:-600])
    with pytest.raises(DataError, match=r"shard-00001\.arrow is damaged \(it is shorter than when it was opened\)"):
        store.gather([7])
    file.unlink()
    with pytest.raises(DataError, match=r"shard-00001\.arrow cannot be read any more \(No such file"):
        store.gather([7])
    assert torch.equal(store.gather([0])["x"], torch.ones(1, 100))
