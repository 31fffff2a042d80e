"""(c) ``cache_features`` in images a second against a plain forward, from files and from memory; where its time goes.

Both run resnet50 in float32 on the same batches. The plain forward is a ``DataLoader`` and a loop under
``inference_mode`` that brings the features to the CPU, in one process and with workers that read.
"""

from __future__ import annotations

import cProfile
import io
import pstats
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from hf_transfer_kit import cache_features
from on_gpu.bench import LIMIT, SLOWER, Bench, Record, transform_of

PARTS = {
    "reading": [("fixed_batches.py", "__call__")],
    "forward": [("layer_output.py", "__call__"), ("feature_pass.py", "_stored")],
    "fingerprints": [("fingerprints.py", "data_fingerprint"), ("body_fingerprint.py", "body_fingerprint")],
    "writing": [("shards.py", "write_shard")],
}
"""Part of the time -> the functions it is spent in; a GPU's forward is waited for where features are brought back."""


class Files(Dataset):
    """Pictures of a folder, read and resized when they are asked for."""

    def __init__(self, paths: Sequence[Path], side: int) -> None:
        self.paths, self.side = [str(path) for path in paths], side
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in transform_of("resnet50"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> dict[str, Any]:
        with Image.open(self.paths[row]) as picture:
            pixels = np.asarray(picture.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR))
        scaled = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255
        return {"pixel_values": (scaled - self.mean) / self.std, "labels": row % 10}


def written(folder: Path, count: int, side: int) -> list[Path]:
    """JPEG files whose pictures are smooth, as photos are."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        small = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((side * 8 // 7, side * 8 // 7), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def plain_forward(bench: Bench, network: torch.nn.Module, rows: Any, batch: int, workers: int) -> torch.Tensor:
    """Features as a loop by hand gives them."""
    loader = DataLoader(rows, batch, num_workers=workers, collate_fn=default_collate, pin_memory=bench.device == "cuda")
    found = []
    with torch.inference_mode():
        for rows_of_batch in loader:
            images = rows_of_batch["pixel_values"].to(bench.device, non_blocking=True)
            features = network.timm_model.forward_features(images)
            found.append(network.timm_model.forward_head(features, pre_logits=True).cpu())
    return torch.cat(found)


def shares(profile: cProfile.Profile, seconds: float) -> dict[str, float]:
    """Part -> its share of the time, and the rest."""
    functions = pstats.Stats(profile, stream=io.StringIO()).stats
    spent: dict[str, float] = {}
    for part, names in PARTS.items():
        found = [
            [figures[3] for (file, _, function), figures in functions.items() if (Path(file).name, function) == wanted]
            for wanted in names
        ]
        if not all(found):
            raise LookupError(f"{names} are not all where this module looks for the time of {part}.")
        spent[part] = sum(map(sum, found)) / seconds
    return {**spent, "rest": 1 - sum(spent.values())}


def measure(bench: Bench, until: float) -> Iterator[Record]:
    """From files, then from memory."""
    batch = bench.given(256, 4)
    network = bench.network("resnet50").eval()
    files = Files(written(bench.folder / "pictures", bench.given(512, 8), bench.side), bench.side)
    memory = [files[row] for row in range(len(files))] * bench.given(4, 1)
    plain_forward(bench, network, memory[: 2 * batch], batch, 0)  # warms up
    for name, rows in (("files", files), ("memory", memory)):
        found: dict[str, float] = {}
        for workers in (0, bench.given(8, 1)):
            taken = bench.seconds(
                lambda rows=rows, workers=workers: plain_forward(bench, network, rows, batch, workers)
            )
            found[f"plain, {workers} workers, images/s"] = len(rows) / taken
        profile = cProfile.Profile()
        taken = bench.seconds(
            lambda rows=rows, name=name, profile=profile: profile.runcall(
                cache_features, network, rows, collator=default_collate, batch_size=batch,
                cache_dir=bench.folder / name, progress=False,
            )
        )  # fmt: skip
        ratio = taken / (len(rows) / max(found.values()))
        yield {
            "what": f"cache_features from {name}",
            "images/s": len(rows) / taken,
            **found,
            "ratio to the faster": ratio,
            **{f"share {part}": share for part, share in shares(profile, taken).items()},
            "mark": SLOWER if ratio > LIMIT else "",
        }
