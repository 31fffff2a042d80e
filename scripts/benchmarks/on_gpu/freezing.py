"""(d) What freezing saves of a step's time and memory, and what a cached prefix gains beside it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional

from hf_transfer_kit import FreezeLayers, cache_prefix, layer_groups
from on_gpu.bench import LIMIT, NETWORKS, SLOWER, Bench, Record, median_ratio, quiet_trainer

GIB = 2**30
FROZEN = {"all learn": None, "half frozen": {"fraction": 0.5}, "head only": {"all_but_head": True}}
_EPOCHS = 2


def step_of(bench: Bench, name: str, frozen: dict[str, Any] | None) -> Callable[[], None]:
    """A training step by hand, in bfloat16 with AdamW, of a network that is partly frozen."""
    model = bench.network(name)
    if frozen is not None:
        FreezeLayers(quiet=True, **frozen).apply(model)
    model.train()
    count = bench.given(256, 4)
    images = torch.randn(count, 3, bench.side, bench.side, device=bench.device)
    labels = torch.arange(count, device=bench.device) % 10
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4, fused=True)

    def step() -> None:
        with bench.autocast():
            loss = functional.cross_entropy(model(pixel_values=images).logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def steps(bench: Bench, name: str) -> Iterator[Record]:
    """Time in turns, then memory, each network alone on the device."""
    made = {kind: step_of(bench, name, frozen) for kind, frozen in FROZEN.items()}
    times: dict[str, list[float]] = {kind: [] for kind in made}
    for round_ in range(bench.given(8, 3)):
        for kind, step in made.items():
            taken = bench.seconds(step)
            if round_ > 1:
                times[kind].append(taken)
    made.clear()
    memory = {}
    for kind, frozen in FROZEN.items():
        step = step_of(bench, name, frozen)
        step()
        memory[kind] = bench.peak_bytes(step)
        del step
    for kind, own in times.items():
        ratio = median_ratio(own, times["all learn"])
        yield {
            "what": f"{name}, {kind}",
            "step ms": 1000 * statistics.median(own),
            "ratio": ratio,
            "peak GiB": None if memory[kind] is None else memory[kind] / GIB,
            "mark": SLOWER if ratio > LIMIT else "",
        }


def trained(bench: Bench, model: torch.nn.Module, rows: Any, collator: Any, k: int) -> float:
    """Seconds of an epoch in the stock Trainer with the first k groups frozen."""
    args = bench.arguments(
        "prefix",
        bf16=True,
        num_train_epochs=_EPOCHS,
        per_device_train_batch_size=bench.given(128, 4),
        optim="adamw_torch_fused",
        remove_unused_columns=False,
        logging_steps=50,
    )
    freeze = FreezeLayers(first=k, quiet=True)
    trainer = quiet_trainer(model, args, train_dataset=rows, data_collator=collator, callbacks=[freeze])
    return bench.seconds(trainer.train) / _EPOCHS


def prefix(bench: Bench, name: str) -> Iterator[Record]:
    """Epochs on what the first groups gave once, against running them each time; rows lie in memory."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(bench.given(512, 8), 3, bench.side, bench.side, generator=draw)
    rows = [{"pixel_values": image, "labels": row % 10} for row, image in enumerate(images)]
    groups = len(layer_groups(bench.network(name)).body)
    for k in (groups - 1, groups):
        again = trained(bench, bench.network(name), rows, None, k)
        model = bench.network(name)
        cached = cache_prefix(
            model, k, rows, batch_size=bench.given(128, 4), cache_dir=bench.folder / f"{name}-{k}", progress=False
        )
        once = trained(bench, model, cached.dataset, cached.collator, k)
        cached.rejoin()
        yield {
            "what": f"{name}, {k} of {groups} groups cached",
            "epoch s": once,
            "epoch s without": again,
            "ratio": once / again,
            "filling s": cached.seconds,
            "cache GiB": cached.nbytes / GIB,
            "mark": SLOWER if once / again > LIMIT else "",
        }


def measure(bench: Bench, until: float) -> Iterator[Record]:
    """Both networks."""
    for name in NETWORKS:
        yield from steps(bench, name)
        yield from prefix(bench, name)
