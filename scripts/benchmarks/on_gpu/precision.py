"""(a) Every part and method in float16 with a GradScaler and in bfloat16 against float32, all with fused AdamW.

A part's gradient is compared at one late step, from the weights that float32 has there, with the same rows; its loss
over the last steps before that. Afterwards a step is made to overflow, which must move no weight, and one more is
ordinary.
"""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from on_gpu.bench import FAILED, UNMEASURED, WRONG, Bench, Record, Steps, quiet_trainer
from on_gpu.isolated import Broken, Isolated, is_device_lost, start_method, words_of
from on_gpu.parts import Training, cases, plain_case

FUSED = {"optim": "adamw_torch_fused"}
MODES: dict[str, dict[str, Any]] = {
    "float32": {},
    "fused": FUSED,
    "bf16": {"bf16": True, **FUSED},
    "fp16": {"fp16": True, **FUSED},
}
"""What Trainer is told; all but the first are compared with the first."""
ALL_MODES = tuple(mode for mode in MODES if mode != "float32")
COSINES = {"fused": 0.9999, "bf16": 0.96, "fp16": 0.99}
"""What a gradient must reach, unless the same training without the part has half the error by itself."""
LOSS_DIFFERENCE = 0.1
"""Of the last steps' mean loss, relative, and the same in absolute terms for losses near 0."""
OVERFLOWING = 2.0**100
_SEED = 7


class SameWeights(TrainerCallback):
    """Sets the weights at the measured step to those that float32 has there, before the parts look at them."""

    def __init__(self, step: int, weights: dict[str, Tensor] | None) -> None:
        self.step = step
        self.weights = weights

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step != self.step:
            return
        torch.manual_seed(_SEED)
        tensors = _tensors(model)
        if self.weights is None:
            self.weights = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(self.weights[name])


class Watch(TrainerCallback):
    """Reads the gradient at one step, and makes another overflow; after the parts, which may add to gradients."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.gradient: Tensor | None = None
        self.skipped: str | None = None
        self.trainer: Trainer | None = None
        self._at: int | None = None
        self._before: list[Tensor] = []
        self._scale = 1.0

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        optimizer = getattr(optimizer, "optimizer", optimizer)
        self._handle = optimizer.register_step_pre_hook(lambda *given: self._read(model, optimizer))

    def on_step_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self._at = state.global_step
        scaler = self.trainer.accelerator.scaler
        if scaler is not None and self._at == self.steps.overflowing:
            self._scale = scaler.get_scale()
            scaler._scale.fill_(OVERFLOWING)
            self._before = [tensor.clone() for tensor in _moved_by_steps(model, optimizer)]

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        scaler = self.trainer.accelerator.scaler
        if scaler is not None and self._at == self.steps.overflowing:
            now = _moved_by_steps(model, optimizer)
            moved = sum(not torch.equal(*pair) for pair in zip(self._before, now, strict=True))
            if scaler.get_scale() >= OVERFLOWING:
                self.skipped = "no overflow was found"
            else:
                self.skipped = f"{moved} of {len(now)} tensors moved" if moved else "yes"
            scaler._scale.fill_(self._scale)

    def on_train_end(self, args, state, control, **kwargs):
        self._handle.remove()

    @torch.no_grad()
    def _read(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if self._at != self.steps.measured or self.gradient is not None:
            return
        scale = getattr(optimizer, "grad_scale", None)
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten().double() for p in model.parameters()]
        self.gradient = torch.cat(parts).cpu() / (1.0 if scale is None else float(scale))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _moved_by_steps(model: nn.Module, optimizer: Any) -> list[Tensor]:
    """Weights, and what the optimizer keeps of each."""
    inner = getattr(optimizer, "optimizer", optimizer)
    kept = [value for state in inner.state.values() for value in state.values() if isinstance(value, Tensor)]
    return [*(parameter.detach() for parameter in model.parameters()), *kept]


@dataclass(frozen=True)
class Trained:
    """What one training gave."""

    gradient: Tensor
    loss: float
    weights: dict[str, Tensor]
    skipped: str | None
    finite: bool


def train(make: Any, bench: Bench, mode: str, weights: dict[str, Tensor] | None) -> Trained:
    """The case's training in one mode, up to the ordinary step after the one that overflows."""
    torch.manual_seed(0)
    steps, case = bench.steps, make(bench)
    watch, same = Watch(steps), SameWeights(steps.measured, weights)
    watch.trainer = trainer = trainer_of(case, bench, same, watch, mode)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    compared = losses[steps.first_compared : steps.measured]
    floating = [t for t in _tensors(case.model).values() if t.is_floating_point()]
    finite = all(bool(t.isfinite().all()) for t in floating) and losses[-1] == losses[-1]
    return Trained(watch.gradient, sum(compared) / len(compared), same.weights, watch.skipped, finite)


def trainer_of(case: Training, bench: Bench, same: SameWeights, watch: Watch, mode: str) -> Trainer:
    """The stock Trainer; on a CPU accelerate has no float16, which is then put in as it does it on a GPU."""
    steps = bench.steps
    settings = dict(MODES[mode])
    if case.evaluates:
        settings |= {"eval_strategy": "steps", "eval_steps": max(2, steps.measured // 2)}
    args = bench.arguments(
        "precision",
        max_steps=steps.total,
        per_device_train_batch_size=case.batch,
        learning_rate=1e-3,
        max_grad_norm=1e9,  # clips nothing; gradients are unscaled before parts see them, as they always are
        logging_steps=1,
        remove_unused_columns=False,
        **settings,
    )
    chosen = {} if case.optimizer is None else {"optimizer_cls_and_kwargs": case.optimizer(case.model, args)}
    trainer = quiet_trainer(
        case.model,
        args,
        train_dataset=case.rows,
        eval_dataset=case.evaluated,
        data_collator=case.collator,
        callbacks=[same, *case.callbacks, watch],
        **chosen,
    )
    if mode == "fp16" and bench.device == "cpu":
        trainer.accelerator.native_amp = True
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu")
    return trainer


def compared(name: str, bench: Bench, modes: Sequence[str]) -> Record:
    """A case's record: cosines, losses, and what the overflow did; the verdict is ``judged``."""
    make = cases()[name]
    exact = train(make, bench, "float32", None)
    record: Record = {"what": name, "loss float32": exact.loss}
    for mode in modes:
        found = train(make, bench, mode, exact.weights)
        record[f"cosine {mode}"] = cosine(found.gradient, exact.gradient)
        record[f"loss {mode}"] = found.loss
        if mode == "fp16":
            record["overflow skipped"] = found.skipped or "no overflow was made"
        if not found.finite:
            record["not finite"] = mode
    return record


def cosine(one: Tensor, two: Tensor) -> float:
    """Of two gradients; 1 where both are 0."""
    norms = float(one.norm() * two.norm())
    if not norms:
        return float(bool(one.any()) == bool(two.any()))
    return float(one @ two) / norms


def judged(record: Record, plain: Record | None) -> Record:
    """The record with its mark, and why."""
    faults = []
    for mode, least in COSINES.items():
        if f"cosine {mode}" not in record:
            continue
        reached = record[f"cosine {mode}"]
        if plain is not None and plain is not record and f"cosine {mode}" in plain:
            least = min(least, 1 - 2 * (1 - plain[f"cosine {mode}"]))
        if not reached >= least:
            faults.append(f"gradient in {mode}: cosine {reached:.4f}, not {least:.4f} or more")
        loss, exact = record[f"loss {mode}"], record["loss float32"]
        if not abs(loss - exact) <= LOSS_DIFFERENCE * (abs(exact) + 1):
            faults.append(f"loss in {mode}: {loss:.4g}, in float32 {exact:.4g}")
    if "not finite" in record:
        faults.append(f"not finite at the end in {record['not finite']}")
    if record.get("overflow skipped", "yes") != "yes":
        faults.append(f"overflow: {record['overflow skipped']}")
    return {**record, "mark": WRONG if faults else "", "why": "; ".join(faults)}


def several(names: Sequence[str], bench: Bench) -> Iterator[Record]:
    """Records of cases, in order; one that fails says so, and one that loses the GPU is the last."""
    gc.collect()
    gc.freeze()  # Trainer collects garbage in every run: what is imported by now need not be looked through
    for name in names:
        try:
            yield compared(name, bench, modes_of(name, bench))
        except Exception as error:
            if "lacks packages" in str(error):
                yield {"what": name, "mark": UNMEASURED, "why": str(error)}
                continue
            yield {"what": name, "mark": FAILED, "why": words_of(error)}
            if is_device_lost(error):
                return


def measure(bench: Bench, until: float) -> Iterator[Record]:
    """All cases, dealt to processes on the one device: nothing here is timed."""
    names = sorted(cases(), key=lambda name: plain_case(name) != name)  # those that others are judged by come first
    found: queue.Queue[Record] = queue.Queue()
    workers = bench.given(8, 1)
    dealt = [names[number::workers] for number in range(workers)]
    threads = [threading.Thread(target=_dealt, args=(own, bench, until, found), daemon=True) for own in dealt]
    for thread in threads:
        thread.start()
    plain: dict[str, Record] = {}
    waiting: list[Record] = []
    for _ in names:
        record = found.get()
        if "mark" in record:
            yield record
            continue
        plain[record["what"]] = record
        waiting.append(record)
        for one in [one for one in waiting if plain_case(one["what"]) in plain]:
            waiting.remove(one)
            yield judged(one, plain[plain_case(one["what"])])
    for one in waiting:  # whose plain training failed
        yield judged(one, None)


def _dealt(names: list[str], bench: Bench, until: float, found: queue.Queue[Record]) -> None:
    """One process at a time for its share; when one ends early, another goes on with what is left."""
    todo = list(names)
    while todo:
        process = Isolated(start_method(bench.device), several, tuple(todo), bench)
        try:
            while todo and (record := process.next(until - time.time())) is not None:
                todo.remove(record["what"])
                found.put(record)
        except Broken as error:
            late = time.time() >= until
            for name in list(todo) if late else todo[:1]:
                todo.remove(name)
                found.put({"what": name, "mark": UNMEASURED if late else FAILED, "why": str(error)})
        finally:
            process.close()


def modes_of(name: str, bench: Bench) -> tuple[str, ...]:
    """All for what others are judged by; fused float32 also for tuning, which acts on optimizers."""
    if plain_case(name) == name:
        return ALL_MODES
    # In the reduced form the one whose GradScaler no other test on a CPU has.
    return bench.given(ALL_MODES if name.startswith("tuning/") else ("bf16", "fp16"), ("fp16",))
