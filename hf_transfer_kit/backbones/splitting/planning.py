"""Finding what crosses a cut: which tensors of the first part the rest of the network reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from hf_transfer_kit.backbones.layer_drop import layer_drop
from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.splitting.calls import (
    CallRecorder,
    RecordedCall,
    call_model,
    float_outputs,
    unit_modules,
)
from hf_transfer_kit.backbones.splitting.checking import check_split
from hf_transfer_kit.backbones.splitting.replay import SHAPES, Substitution, SuffixMode, cached_key
from hf_transfer_kit.backbones.splitting.sample import Sample
from hf_transfer_kit.backbones.splitting.split import Split, TensorShape, UnitCall, parts_of, refusal
from hf_transfer_kit.errors import ModelError, SettingsError


def find_split(model: nn.Module, depth: int, sample: Sample, *, tolerance: float = 1e-5) -> Split:
    """What to keep of the first ``depth`` layer groups so that the rest can run without them.

    A tensor is kept when a gradient flows from it to the output while all units of the first part answer with what
    they answered before. At full depth the inputs of the head are kept instead, where they alone do.

    Args:
        model: The model, in any mode; it stays as it is.
        depth: Number of groups of the first part, 1 to the number before the head.
        sample: A few real rows.
        tolerance: Largest relative difference of outputs that is allowed.

    Raises:
        SettingsError: When ``depth`` is out of range.
        ModelError: When the model cannot be split there; says what stands in the way.

    Example:
        >>> from hf_transfer_kit.backbones.splitting.sample import Sample
        >>> sample = Sample((0, 1), batch=collator(train[:2]), alone=collator(train[:1]))
        >>> split = find_split(model.eval(), 2, sample)
        >>> split.depth, [tensor.row for tensor in split.live]
        (2, [(8, 8, 8)])
    """
    groups = layer_groups(model)
    limit = len(groups.body)
    if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= limit:
        raise SettingsError(
            f"k={depth} is out of range: {type(model).__name__} has {limit} layer groups before the head "
            f"({', '.join(group.name for group in groups.body)}), so give k from 1 to {limit}."
        )
    _check_layer_drop(model, depth, limit)
    try:
        return _found_split(model, depth, sample, tolerance)
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # Networks of others fail in ways of their own when a part of them is left out.
        where = _failed_module(model, error) or groups[depth - 1].name
        what = f"{where} could not be followed ({type(error).__name__}: {error})"
        raise ModelError(refusal(model, depth, what)) from error


def _failed_module(model: nn.Module, error: Exception) -> str | None:
    """Name of the innermost module of the model whose code the error came through."""
    names = {id(module): name for name, module in model.named_modules() if name}
    found, trace = None, error.__traceback__
    while trace is not None:
        found = names.get(id(trace.tb_frame.f_locals.get("self")), found)
        trace = trace.tb_next
    return found


def _found_split(model: nn.Module, depth: int, sample: Sample, tolerance: float) -> Split:
    """The first of the possible splits that gives what the whole network gives."""
    groups = layer_groups(model)
    limit = len(groups.body)
    facts = _Facts(model, depth, sample)
    candidates = [facts.split_at_outputs]
    if depth == limit and groups.head is not None:
        candidates.insert(0, facts.split_at_head)
    for index, candidate in enumerate(candidates):
        try:
            split = candidate()
            _check(model, split, sample, facts, tolerance)
        except ModelError:
            if index == len(candidates) - 1:
                raise
        else:
            return split
    raise AssertionError("the last candidate returns or raises")


def cached_batch(split: Split, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch for ``SuffixMode`` from recorded tensors and the ordinary batch they were computed from."""
    made = {cached_key(i): shape.by_row({**batch, **tensors}[shape.name]) for i, shape in enumerate(split.live)}
    made.update({shape.name: batch[shape.name] for shape in split.carried})
    if split.is_variable:
        rows = made[cached_key(0)].shape[0]
        made[SHAPES] = torch.tensor(dead_lengths(split, {**batch, **tensors})).expand(rows, -1)
    return made


def dead_lengths(split: Split, tensors: Mapping[str, Tensor]) -> list[int]:
    """Lengths of all axes of the dead tensors, as in this batch, one after the other."""
    lengths: list[int] = []
    for shape in split.dead:
        lengths += tensors[shape.name].shape[1 if shape.rows_each else 0 :]
    return lengths


class _Facts:
    """One model, one depth, one sample: what was recorded, and the splits that follow."""

    def __init__(self, model: nn.Module, depth: int, sample: Sample) -> None:
        groups = layer_groups(model)
        self.model, self.depth, self.sample = model, depth, sample
        self.units = unit_modules(groups[:depth])
        self.head = unit_modules([groups.head]) if depth == len(groups.body) and groups.head is not None else {}
        self.calls, self.tensors = self._recorded(sample.batch)
        _, self.first = self._recorded(sample.first)
        self.shorter: dict[str, Tensor] | None = None
        if sample.shorter is not None:
            _, self.shorter = self._recorded(sample.shorter)

    def _recorded(self, batch: Mapping[str, Tensor]) -> tuple[list[RecordedCall], dict[str, Tensor]]:
        with seeded_eval_mode(self.model, seed=0), torch.no_grad():
            calls, _ = CallRecorder(self.units, entered=self.head).run(self.model, batch)
        return calls, {**batch, **{name: value for call in calls for name, value in call.tensors().items()}}

    def shape(self, name: str) -> TensorShape:
        """Shape facts of a recorded tensor or an input of the model."""
        whole, first = self.tensors[name], self.first.get(name)
        if first is None or first.dim() != whole.dim():
            raise ModelError(self.refusal(f"{name!r} is not the same kind of tensor in every batch"))
        rows = len(next(iter(self.sample.batch.values())))
        each = whole.shape[0] // rows if whole.dim() and whole.shape[0] != first.shape[0] else 0
        if not each and whole.dim() > 1 and (whole.shape[1], first.shape[1]) == (rows, 1):
            owner = parts_of(name)[0] if "/" in name else name
            raise ModelError(self.refusal(f"{owner!r} has its rows on the second axis, behind the positions"))
        row = tuple(whole.shape[1:] if each else whole.shape)
        axes: tuple[int, ...] = ()
        if self.shorter is not None and name in self.shorter:
            short = self.shorter[name].shape[1 if each else 0 :]
            axes = tuple(axis for axis, (a, b) in enumerate(zip(row, short, strict=True)) if a - b == 1)
        return TensorShape(name, whole.dtype, each, row, axes)

    def _is_by_row(self, shape: TensorShape) -> bool:
        """Whether the tensor holds one piece a row, or several of them side by side (windows, choices)."""
        if shape.rows_each < 2:
            return shape.rows_each == 1
        first = self.first[shape.name]
        return torch.allclose(self.tensors[shape.name][: len(first)], first, rtol=1e-3, atol=1e-4)

    def split_at_outputs(self) -> Split:
        """The cut behind the units of the first part."""
        stubbed = {call.unit for call in self.calls if not call.is_input} - self._reading_the_rest()
        while True:
            calls = [call for call in self.calls if call.unit in stubbed and not call.is_input]
            live = self._live(calls)
            shared = {parts_of(name)[0] for name in live if "/" in name and self.shape(name).rows_each == 0}
            if not shared:
                break
            # What does not belong to rows is small and the same for all: such a unit goes on running.
            stubbed -= shared
        if not any("/" in name for name in live):
            raise ModelError(self.refusal("nothing of it reaches the output"))
        return self._split(calls, live)

    def _reading_the_rest(self) -> set[str]:
        """Units of the first part that read what comes after it, as an output layer tied to the embeddings does."""
        parameters = list(self.model.named_parameters())
        prefix = {name for group in layer_groups(self.model)[: self.depth] for name in group.parameters}
        asked = [parameter.requires_grad for _, parameter in parameters]
        found: set[str] = set()

        def look(unit: str, module: nn.Module, args: Any, output: Any) -> None:
            if any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in tree_flatten(output)[0]):
                found.add(unit)

        handles = [module.register_forward_hook(partial(look, unit)) for unit, module in self.units.items()]
        try:
            for name, parameter in parameters:
                parameter.requires_grad_(parameter.is_floating_point() and name not in prefix)
            with seeded_eval_mode(self.model, seed=0), torch.enable_grad():
                call_model(self.model, self.sample.first)
        finally:
            for handle in handles:
                handle.remove()
            for (_, parameter), before in zip(parameters, asked, strict=True):
                parameter.requires_grad_(before)
        return found

    def split_at_head(self) -> Split:
        """The cut in front of the head: only what enters its first module is kept."""
        entered = next((call for call in self.calls if call.is_input), None)
        calls = [call for call in self.calls if not call.is_input]
        live = [n for n, t in entered.tensors().items() if t.is_floating_point()] if entered else []
        if not live or any(self.shape(name).rows_each != 1 for name in live):
            raise ModelError(self.refusal("what enters the head is not one tensor a row"))
        return self._split(calls, live)

    def _split(self, calls: Sequence[RecordedCall], live: Sequence[str]) -> Split:
        made: dict[str, list[UnitCall]] = {}
        dead: list[TensorShape] = []
        for call in calls:
            shapes = {name: self.shape(name) for name in call.tensors()}
            dead += [shape for name, shape in shapes.items() if name not in live]
            by_leaf = {parts_of(name)[2]: shape for name, shape in shapes.items()}
            leaves = tuple(by_leaf.get(index, leaf) for index, leaf in enumerate(call.leaves))
            made.setdefault(call.unit, []).append(UnitCall(call.spec, leaves))
        carried = []
        for name, value in self.sample.batch.items():
            if name in live:
                continue
            if value.is_floating_point() and "label" not in name:
                dead.append(self.shape(name))
            else:
                carried.append(self.shape(name))
        kept = tuple(self.shape(name) for name in live)
        strange = next((shape.name for shape in kept if not self._is_by_row(shape)), None)
        if strange is not None:
            raise ModelError(self.refusal(f"{strange!r}, which the rest reads, does not hold its rows one by one"))
        return Split(
            depth=self.depth,
            calls={unit: tuple(of_unit) for unit, of_unit in made.items()},
            live=kept,
            dead=tuple(dead),
            carried=tuple(carried),
            is_variable=self.sample.is_variable,
            trims=self.shorter is not None,
        )

    def _live(self, calls: Sequence[RecordedCall]) -> list[str]:
        """Names of tensors (of these calls, and floating inputs) from which a gradient reaches the output."""
        values: dict[str, Tensor] = {}
        for call in calls:
            values.update(call.tensors())
        inputs = {n: v for n, v in self.sample.batch.items() if v.is_floating_point() and "label" not in n}
        leaves = {n: v.clone().requires_grad_() for n, v in {**values, **inputs}.items() if v.is_floating_point()}
        by_call = {(call.unit, call.call): call for call in calls}
        number_of = {unit: sum(call.unit == unit for call in calls) for unit in self.units}

        def answer(unit: str, number: int) -> Any:
            call = by_call[unit, number % number_of[unit]]
            # Not the leaf itself, for a later layer may write into what it is handed.
            found = {parts_of(n)[2]: leaves[n] * 1 if n in leaves else v for n, v in call.tensors().items()}
            return tree_unflatten([found.get(i, leaf) for i, leaf in enumerate(call.leaves)], call.spec)

        batch = {**self.sample.batch, **{n: leaves[n] * 1 for n in inputs}}
        substitution = Substitution({u: self.units[u] for u in number_of if number_of[u]}, answer)
        with seeded_eval_mode(self.model, seed=0), torch.enable_grad(), substitution:
            outputs = [o for o in float_outputs(call_model(self.model, batch)) if o.requires_grad]
            total = sum((output.float().sum() for output in outputs), torch.zeros(()))
            grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True) if outputs else ()
        found = [name for name, grad in zip(leaves, grads, strict=False) if grad is not None]
        return found + [name for name, value in values.items() if not value.is_floating_point()]

    def refusal(self, what: str) -> str:
        """The sentence that says why not."""
        return refusal(self.model, self.depth, what)


def _check(model: nn.Module, split: Split, sample: Sample, facts: _Facts, tolerance: float) -> None:
    mode = SuffixMode(model, split).on()
    try:
        cached = cached_batch(split, facts.tensors, sample.batch)
        check_split(mode, sample.batch, cached, tolerance=tolerance)
    finally:
        mode.off()


def _check_layer_drop(model: nn.Module, depth: int, limit: int) -> None:
    if (dropped := layer_drop(model)) and depth < limit:
        name, chance = dropped
        raise ModelError(
            f"{type(model).__name__} leaves out whole layers at random while it trains ({name}={chance}), frozen "
            f"ones too, which a cache cannot follow. Set model.config.{name} = 0.0 to use one."
        )
