"""What hashing a cache costs when it is opened, beside reading all of its rows.

    python scripts/benchmarks/checksum_cost.py --gigabytes 1 --repeats 5

A cache of float32 features is written to a temporary folder and opened by a process that has not seen it yet: once with
its hashes compared, once without. The files lie in the system's file cache, as after building; where they do not, both
wait for the disk, and hashing leaves them there for training.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from hf_transfer_kit.features import Column, Store, build_store, checksums

FEATURES = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="Where the cache is written; default: a temporary one.")
    flags = parser.parse_args()
    rows = int(flags.gigabytes * 1e9 / (4 * FEATURES))
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
        columns = [Column("features", "float32", (FEATURES,))]
        generator = torch.Generator().manual_seed(0)
        building = time.perf_counter()
        store = build_store(
            folder,
            "k",
            columns,
            rows,
            lambda start, stop: {"features": torch.randn(stop - start, FEATURES, generator=generator)},
            rows_per_shard=4096,
        )
        print(f"{store}; built in {time.perf_counter() - building:.1f} s")
        path = Path(folder) / "k"
        checked = [seconds(lambda: Store(path)) for _ in range(flags.repeats)]
        unchecked = [seconds(lambda: Store(path, check=False)) for _ in range(flags.repeats)]
        reading = [seconds(lambda: _read(store)) for _ in range(flags.repeats)]
    for what, measured in (
        ("opened, hashes compared", checked),
        ("opened without", unchecked),
        ("all rows read", reading),
    ):
        print(f"{what:>24}: {told(measured)}")


def seconds(work: Callable[[], object]) -> float:
    """Wall time, in a process that has compared no hashes yet."""
    checksums._checked.clear()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def told(measured: Sequence[float]) -> str:
    """Mean and spread."""
    return f"{statistics.mean(measured):.3f} ± {statistics.stdev(measured) if len(measured) > 1 else 0:.3f} s"


def _read(store: Store) -> None:
    for start in range(0, len(store), 1024):
        store.gather(range(start, min(start + 1024, len(store))))


if __name__ == "__main__":
    main()
