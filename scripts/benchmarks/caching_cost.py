"""What computing frozen layers once saves, on real photos: three measurements, each against the same without a cache.

    python scripts/benchmarks/caching_cost.py head --model MODEL --dataset DATASET      # head only, 10 epochs
    python scripts/benchmarks/caching_cost.py prefix --model MODEL --dataset DATASET    # the first k groups frozen
    python scripts/benchmarks/caching_cost.py memory                                    # 50,000 x 1,280 features

Every part runs in a process of its own, so that its peak memory is its own; parts take turns. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Subset
from transformers import PrinterCallback, Trainer, TrainingArguments

from hf_transfer_kit import (
    FreezeLayers,
    cache_prefix,
    layer_groups,
    load_data,
    load_model,
    load_processor,
    prepare_data,
)
from hf_transfer_kit.features import Column, build_store, find_store
from hf_transfer_kit.features.cached_features import CachedFeatures

PARTS = {"head": ("pass", "cached", "uncached"), "prefix": ("cached", "uncached"), "memory": ("memory",)}


def data_and_model(options):
    """Decoded photos of train and validation together, their collator, and the model with a fresh head."""
    data = load_data(options.dataset)
    model = load_model(options.model, id2label=dict(enumerate(data.label_names)), seed=0)
    processor = load_processor(options.model, "image")
    started = time.perf_counter()
    prepared = prepare_data(data, processor, image_size=options.image_size)
    rows = ConcatDataset([prepared.train, prepared.validation])
    if options.rows:
        rows = Subset(rows, range(min(options.rows, len(rows))))
    model.to(memory_format=torch.channels_last)
    return model, rows, prepared.collator, time.perf_counter() - started


def forward_pass(options) -> dict[str, float]:
    """One pass of the whole network over the photos, decoding included, by a plain loop."""
    model, rows, collate, decoding = data_and_model(options)
    started = time.perf_counter()
    model.eval()
    with torch.no_grad():
        for first in range(0, len(rows), options.batch_size):
            batch = collate([rows[row] for row in range(first, min(first + options.batch_size, len(rows)))])
            model(batch["pixel_values"])
    return {"seconds": decoding + time.perf_counter() - started, "decoding": decoding, "rows": len(rows)}


def training(options, *, cached: bool) -> dict[str, object]:
    """Stock Trainer with the first k groups frozen: on what they gave once, or running them at every step."""
    model, rows, collate, decoding = data_and_model(options)
    started = time.perf_counter()
    k = options.k or len(layer_groups(model).body)
    train, collator = rows, collate
    with tempfile.TemporaryDirectory() as folder:
        if cached:
            prefix = cache_prefix(
                model, k, rows, collator=collate, batch_size=options.batch_size, cache_dir=folder, progress=False
            )
            train, collator = prefix.dataset, prefix.collator
        args = TrainingArguments(
            f"{folder}/run",
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size,
            learning_rate=5e-3 if options.what == "head" else 5e-4,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
        )
        freeze = FreezeLayers(first=k, quiet=True)
        trainer = Trainer(model, args, train_dataset=train, data_collator=collator, callbacks=[freeze])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        if cached:
            prefix.rejoin()
        seconds = time.perf_counter() - started
        model.eval()
        with torch.no_grad():
            logits = model(collate([rows[row] for row in range(min(16, len(rows)))])["pixel_values"]).logits
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    found = {"seconds": decoding + seconds, "losses": losses, "logits": logits.tolist()}
    if cached:
        found["cache_bytes"] = prefix.nbytes
    return found


WIDTH = 1280


def fill(folder: str, rows: int) -> None:
    """Stores random features and classes."""

    def compute(start: int, stop: int) -> dict[str, torch.Tensor]:
        drawn = np.random.default_rng(start).standard_normal((stop - start, WIDTH), dtype=np.float32)
        return {"features": torch.from_numpy(drawn), "labels": torch.arange(start, stop) % 10}

    columns = [Column("features", "float32", (WIDTH,)), Column("labels", "int64", ())]
    build_store(folder, "features", columns, rows, compute, rows_per_shard=5000)


def memory(options) -> dict[str, float]:
    """Trains a linear head with the stock Trainer on features that lie on disk, put there by another process."""
    with tempfile.TemporaryDirectory() as folder:
        filling = get_context("spawn").Process(target=fill, args=(folder, options.rows or 50_000))
        filling.start()
        filling.join()
        store = find_store(folder, "features")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        args = TrainingArguments(
            f"{folder}/run",
            num_train_epochs=2,
            per_device_train_batch_size=256,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            save_strategy="no",
        )
        Trainer(LinearHead(WIDTH, 10), args, train_dataset=CachedFeatures(store)).train()
        return {"bytes_on_disk": store.nbytes, "rows": len(store), "peak_bytes_before_training": before}


class LinearHead(nn.Module):
    """One linear layer on features, its loss a mean."""

    accepts_loss_kwargs = False

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, classes)

    def forward(self, features, labels=None):
        logits = self.layer(features)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def one_part(options) -> None:
    """Runs one part and prints its result as the last line."""
    torch.set_num_threads(1)
    runs = {
        "pass": forward_pass,
        "cached": lambda o: training(o, cached=True),
        "uncached": lambda o: training(o, cached=False),
        "memory": memory,
    }
    found = runs[options.part](options)
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))


def in_turns(options) -> dict[str, list[dict]]:
    """Part -> its results, one a round; the parts of a round follow each other."""
    found = {part: [] for part in PARTS[options.what]}
    for _ in range(options.rounds):
        for part, results in found.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{part}: {results[-1].get('seconds', 0):.1f} s", file=sys.stderr)
    return found


def ratios(above: list[dict], below: list[dict]) -> float:
    """Median over rounds of the ratio of seconds."""
    return round(statistics.median(a["seconds"] / b["seconds"] for a, b in zip(above, below, strict=True)), 3)


def summary(options, found: dict[str, list[dict]]) -> dict[str, object]:
    """What the measurement says."""
    told: dict[str, object] = {"measurement": options.what, "rounds": options.rounds}
    if options.what == "memory":
        return {**told, **found["memory"][0]}
    cached, uncached = found["cached"], found["uncached"]
    told["uncached_to_cached"] = ratios(uncached, cached)
    if options.what == "head":
        told["cached_to_one_pass"] = ratios(cached, found["pass"])
    first, second = cached[0], uncached[0]
    told["cache_bytes"] = first["cache_bytes"]
    told["largest_loss_difference"] = float(np.abs(np.subtract(first["losses"], second["losses"])).max())
    told["largest_logit_difference"] = float(np.abs(np.subtract(first["logits"], second["logits"])).max())
    told["largest_logit"] = float(np.abs(second["logits"]).max())
    told["peak_bytes"] = {"cached": first["peak_bytes"], "uncached": second["peak_bytes"]}
    return told


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(PARTS))
    parser.add_argument("--model")
    parser.add_argument("--dataset")
    parser.add_argument("--k", type=int, help="groups to freeze; default: all before the head")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--image_size", type=int)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("model", "dataset"):
        if options.what != "memory" and getattr(options, name) is None:
            parser.error(f"--{name} is missing")
        if (value := getattr(options, name)) and Path(value).exists():
            setattr(options, name, str(Path(value)))
    if options.part:
        one_part(options)
    else:
        print(json.dumps(summary(options, in_turns(options))))


if __name__ == "__main__":
    main()
