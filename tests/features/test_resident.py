"""Reading a store again and again does not make its files this process's memory."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_transfer_kit.features import Column, build_store


def resident_files() -> int:
    """MiB of mapped files that are resident."""
    return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives mapped pages back")
def test_reading_160_mib_keeps_less_than_80_of_them_and_every_value(tmp_path):
    def compute(start, stop):
        return {"x": torch.arange(start, stop).float()[:, None].expand(-1, 5120)}

    store = build_store(tmp_path, "k", [Column("x", "float32", (5120,))], 8192, compute, rows_per_shard=1000)
    before = resident_files()
    for _ in range(2):
        for rows in np.array_split(np.random.permutation(8192), 128):
            taken = store.gather(rows)["x"]
            assert torch.equal(taken[:, [0, -1]], torch.from_numpy(rows).float()[:, None].expand(-1, 2))
            assert resident_files() - before < 80
