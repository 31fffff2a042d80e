"""(e) Five runs of a race one after another in this process, and at once in worker processes on the same device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.selection import Budget, Comparison, Executor, ProcessWorkers, compare_strategies
from on_gpu.bench import LIMIT, SLOWER, Bench, Record

CLASSES = 10


class Pictures(Dataset):
    """Images whose class a pattern tells."""

    def __init__(self, rows: int, side: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        patterns = torch.randn(CLASSES, 3, side, side, generator=torch.Generator().manual_seed(9))
        self.labels = torch.arange(rows) % CLASSES
        self.images = torch.randn(rows, 3, side, side, generator=draw) + 0.3 * patterns[self.labels]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.images[row], "labels": self.labels[row]}


def collated(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Rows end to end."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def made(bench: Bench, seed: int) -> PreTrainedModel:
    """The network, the same for every seed, as a pretrained one is."""
    return bench.network("resnet50", CLASSES).cpu()


def race(bench: Bench, folder: str, executor: Executor | None, *, runs: int) -> Comparison:
    """One strategy with so many seeds."""
    side, rows = bench.given(64, 32), bench.given(512, 16)
    splits = {name: Pictures(rows, side, seed) for seed, name in enumerate(("train", "validation", "test"))}
    names = tuple(f"class {number}" for number in range(CLASSES))
    data = PreparedData(**splits, collator=collated, modality="image", label_names=names)
    batch = bench.given(64, 8)
    args = bench.arguments(
        folder,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=bench.given(256, 8),
        remove_unused_columns=False,
        bf16=not bench.reduced,
    )
    budget = Budget(bench.given(100, 2), batch, evaluations=1)
    return compare_strategies(partial(made, bench), data, ["full"], args, budget, seeds=range(runs), executor=executor)


def measure(bench: Bench, until: float) -> Iterator[Record]:
    """Both ways; the workers' start counts, for a user waits for it."""
    runs = bench.given(5, 2)
    race(bench, "warm", None, runs=1)
    started = time.perf_counter()
    one_by_one = race(bench, "one", None, runs=runs)
    after_another = time.perf_counter() - started
    workers = bench.given(5, 1)
    started = time.perf_counter()
    with ProcessWorkers(workers) as executor:
        together = race(bench, "many", executor, runs=runs)
    at_once = time.perf_counter() - started
    pairs = zip(one_by_one.results[0].test_by_seed, together.results[0].test_by_seed, strict=True)
    ratio = at_once / after_another
    yield {
        "what": f"{runs} runs",
        "one after another s": after_another,
        f"by {workers} workers s": at_once,
        "ratio": ratio,
        "a run alone s": one_by_one.results[0].seconds,
        "a run beside others s": together.results[0].seconds,
        "largest difference of accuracies": max(abs(one - other) for one, other in pairs),
        "mark": SLOWER if ratio > LIMIT else "",
    }
