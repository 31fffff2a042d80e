"""One process of several that cache features together: python features_process.py CACHE_DIR."""

import sys

import tiny
import torch
from leaving import leave
from snapshots import labelled_rows

from hf_transfer_kit import cache_features


def main(cache_dir: str) -> None:
    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = [{**row, "pixel_values": row["pixel_values"] + i} for i, row in enumerate(labelled_rows(inputs, 50))]
    seen = []
    model.resnet.embedder.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    features = cache_features(wrapped, rows, batch_size=3, cache_dir=cache_dir, progress=False)
    print(f"rank {torch.distributed.get_rank()}: {sum(seen)} computed, {len(features)} read")
    leave()


if __name__ == "__main__":
    main(sys.argv[1])
