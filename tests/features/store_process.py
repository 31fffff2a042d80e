"""One process of the store's tests: builds 8 shards of 4 rows and writes down each shard it computed.

usage: store_process.py CACHE_DIR LOG [--kill-at START] [--seconds PER_SHARD] [--meet FILE]
                        [--fail-at START] [--rank R --world W --rendezvous FILE]

With --fail-at it fails there once, and builds again.
"""

import argparse
import os
import signal
import time
from pathlib import Path

import torch
from leaving import leave

from hf_transfer_kit.features import Column, build_store

ROWS, PER_SHARD = 30, 4
COLUMNS = [Column("x", "float32", (3,)), Column("y", "bfloat16", (None, 2))]


def values(start, stop):
    """Rows that depend on their number alone."""
    x = torch.stack([torch.sin(torch.arange(3.0) + row) for row in range(start, stop)])
    return {"x": x, "y": [torch.full((row % 3, 2), row, dtype=torch.bfloat16) for row in range(start, stop)]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cache_dir")
    parser.add_argument("log", type=Path)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--fail-at", type=int)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--meet", type=Path)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--world", type=int, default=1)
    parser.add_argument("--rendezvous")
    args = parser.parse_args()

    def compute(start, stop):
        if start == args.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if start == args.fail_at:
            raise RuntimeError(f"row {start} is bad")
        with open(args.log, "a") as log:
            log.write(f"{start} {args.rank}\n")
        time.sleep(args.seconds)
        return values(start, stop)

    if args.rank is not None:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{args.rendezvous}", rank=args.rank, world_size=args.world
        )
    if args.meet is not None:
        with open(args.meet, "a") as here:
            here.write("x")
        while len(args.meet.read_text()) < 2:
            time.sleep(0.01)
    for _ in range(1 if args.fail_at is None else 2):
        try:
            store = build_store(args.cache_dir, "k", COLUMNS, ROWS, compute, rows_per_shard=PER_SHARD)
            print("sum", float(store.gather(range(ROWS))["x"].double().sum()))
        except Exception as error:
            print("error", type(error).__name__, error)
        args.fail_at = None
    leave()


if __name__ == "__main__":
    main()
