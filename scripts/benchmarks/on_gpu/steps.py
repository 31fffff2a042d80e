"""(b) A step of DANN, L2-SP and DELTA in the stock Trainer against the loop written by hand, compiled and not.

Batches are 256 images (of DANN 128 of each domain), which lie on the device for both, so that neither waits for a disk.
Steps take turns, some at a time; what counts for the Trainer is all the time between two turns of the loop, its logging
and its fetching of rows included. Everything is compiled first, all pairs at once; then one pair at a time is measured.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch._dynamo  # once for all pairs
from torch import Tensor
from torch.utils.data import default_collate
from transformers import Trainer, TrainerCallback

from hf_transfer_kit.adaptation import AdversarialSchedule, DomainAdversarialModel, DomainCollator, DomainPairs
from hf_transfer_kit.tuning import DELTA, L2SP, LogScalars
from on_gpu.bench import FAILED, LIMIT, NETWORKS, SLOWER, UNMEASURED, Bench, Record, median_ratio, quiet_trainer
from on_gpu.isolated import Broken, Isolated, start_method
from on_gpu.loops import LOOPS, STRENGTH, Loop

POOL = 512


class Turns(TrainerCallback):
    """After each turn of the Trainer as many steps of the loop; the first turn compiles, the second warms up."""

    def __init__(self, loop: Loop, length: int, compiled: Any, go: Any) -> None:
        self.loop, self.length, self.compiled, self.go = loop, length, compiled, go
        self.kit: list[float] = []
        self.by_hand: list[float] = []
        self._turns = 0
        self._start = 0.0

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.length:
            return
        self.loop.bench.synchronize()
        mine = time.perf_counter() - self._start
        other = self.loop.bench.seconds(lambda: [self.loop.step() for _ in range(self.length)])
        self._turns += 1
        if self._turns == 1:
            if self.loop.bench.device == "cuda":
                torch.cuda.empty_cache()  # for those that compile meanwhile
            self.compiled.set()
            self.go.wait()
        elif self._turns > 2:
            self.kit.append(mine / self.length)
            self.by_hand.append(other / self.length)
        self._start = time.perf_counter()


def pool(bench: Bench) -> tuple[Tensor, Tensor]:
    """Images on the device, and their classes."""
    count = bench.given(POOL, 16)
    torch.manual_seed(0)
    images = torch.randn(count, 3, bench.side, bench.side, device=bench.device)
    return images, torch.arange(count, device=bench.device) % 10


def trainer_of(bench: Bench, method: str, name: str, turns: Turns, *, rounds: int, backend: str | None) -> Trainer:
    """The kit's way of the same."""
    images, labels = turns.loop.images, turns.loop.labels
    pairs = zip(images, labels.tolist(), strict=True)
    # Several times, for an epoch of two steps would spend its time beginning.
    rows = [{"pixel_values": image, "labels": label} for image, label in pairs] * bench.given(16, 1)
    model, collator, callbacks, batch = bench.network(name), default_collate, [], turns.loop.batch
    if method == "DANN":
        half = len(rows) // 2
        model = DomainAdversarialModel.from_classifier(model, method="dann", method_options={"hidden": [1024, 1024]})
        rows = DomainPairs(rows[:half], [{"pixel_values": row["pixel_values"]} for row in rows[half:]])
        collator, callbacks, batch = DomainCollator(default_collate), [AdversarialSchedule()], batch // 2
    elif method == "L2SP":
        callbacks = [L2SP(STRENGTH, STRENGTH)]
    else:
        callbacks = [DELTA(layers=4)]
    compiling = {"torch_compile": True, "torch_compile_backend": backend} if backend else {}
    args = bench.arguments(
        "steps",
        bf16=True,
        max_steps=turns.length * (2 + rounds),
        per_device_train_batch_size=batch,
        dataloader_drop_last=True,
        learning_rate=1e-4,
        optim="adamw_torch_fused",
        max_grad_norm=0.0,
        logging_steps=50,
        **compiling,
    )
    callbacks = [*callbacks, LogScalars(), turns]
    return quiet_trainer(model, args, train_dataset=rows, data_collator=collator, callbacks=callbacks)


def pair(bench: Bench, method: str, name: str, compiled: Any, go: Any) -> Iterator[Record]:
    """Both ways of a method on a network: compiled, then not."""
    images, labels = pool(bench)
    # Tracing is what takes time in the reduced form: of one network it is enough.
    compilers = bench.given(("inductor", None), ("eager", None) if name == "ViT-S" else (None,))
    for backend in compilers:
        torch.compiler.reset()
        rounds, length = bench.given((4, 3), (1, 1))
        loop = Loop(bench, method, name, images, labels, batch=bench.given(256, 4), backend=backend)
        turns = Turns(loop, length, compiled, go)
        trainer_of(bench, method, name, turns, rounds=rounds, backend=backend).train()
        yield record_of(f"{method}, {name}, {'compiled' if backend else 'not compiled'}", turns)
        del loop, turns
        if bench.device == "cuda":
            torch.cuda.empty_cache()


def record_of(what: str, turns: Turns) -> Record:
    """Milliseconds a step, and the ratio of neighbouring turns."""
    ratio = median_ratio(turns.kit, turns.by_hand)
    return {
        "what": what,
        "kit ms": 1000 * sorted(turns.kit)[len(turns.kit) // 2],
        "loop ms": 1000 * sorted(turns.by_hand)[len(turns.by_hand) // 2],
        "ratio": ratio,
        "mark": SLOWER if ratio > LIMIT else "",
    }


def measure(bench: Bench, until: float) -> Iterator[Record]:
    """All pairs: compiled side by side, measured one by one."""
    start = start_method(bench.device)
    pairs = len(NETWORKS) * len(LOOPS)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(max(1, (os.cpu_count() or 1) // pairs)))
    context = multiprocessing.get_context(start)
    waiting = []
    for name in NETWORKS:
        for method in LOOPS:
            compiled, go = context.Event(), context.Event()
            process = Isolated(start, pair, bench, method, name, compiled, go)
            process.ask()
            waiting.append((method, name, process, compiled, go))
    late = until - bench.given(55, 0)  # what measuring takes
    for _, _, process, compiled, _ in waiting:
        process.until(compiled, late)
    for method, name, process, compiled, go in waiting:
        try:
            if not compiled.is_set() and not process.has_answered():
                raise Broken("compiling took longer than there was time for")
            go.set()
            record = process.answer(until - time.time())
            while record is not None:
                yield record
                record = process.next(until - time.time())
        except Broken as error:
            over = time.time() >= until or "longer than" in str(error)
            yield {"what": f"{method}, {name}", "mark": UNMEASURED if over else FAILED, "why": str(error)}
        finally:
            process.close()
