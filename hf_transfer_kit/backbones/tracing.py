"""One forward, watched: in which order parameters are used, and which layers' outputs become the logits."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode


@dataclass(frozen=True)
class Trace:
    """What one forward showed. Names are those of the traced model; a tied parameter bears its first name.

    Args:
        first_use: Parameter -> when an operation first read it. What was not executed is missing.
        reads: Parameter -> the parameters whose values had entered what it was first applied to, as bits numbered like
            ``names``; the bit after the last is the inputs'.
        names: All parameters, in order of definition.
        sources: Modules whose parameters gave the logits, with no other parameter after them.
        logits: Whether the outputs named something as logits.
        widths: Sizes of the axes of the logits that may count classes, the last one and that of channels.
        reaching: Parameters whose values enter any of the outputs; empty where that is not known.
    """

    first_use: Mapping[str, int]
    reads: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    logits: bool = False
    widths: frozenset[int] = frozenset()
    reaching: frozenset[str] = frozenset()


def trace(model: nn.Module, inputs: Mapping[str, Any] | Any) -> Trace:
    """Runs ``model`` once in evaluation mode without gradients; modes, buffers and random state stay as they are.

    Args:
        model: The model.
        inputs: Keyword arguments, a tuple of positional ones, or one tensor.

    Raises:
        Exception: Whatever the model's forward raises.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with seeded_eval_mode(model, seed=0), torch.no_grad(), _silence():
            try:
                watch = _Watch(model, inputs)
                with _unobserved(model), watch:
                    output = call_with(model, inputs)
            except Exception:
                if not any(module._forward_hooks for module in model.modules()):
                    raise
                watch = _Watch(model, inputs)  # a network may need hooks of its own
                with watch:
                    output = call_with(model, inputs)
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers and buffer.shape == buffers[name].shape:
                    buffer.copy_(buffers[name])
    tensors, named = _logits(output)
    sources: dict[str, None] = {}
    for tensor in tensors:
        sources.update(dict.fromkeys(watch.sources_of(tensor)))
    widths = frozenset(size for tensor in tensors if tensor.dim() > 1 for size in (tensor.shape[-1], tensor.shape[1]))
    reaching = watch.entered(leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor))
    return Trace(watch.first_use, watch.named_reads(), tuple(watch.names), tuple(sources), named, widths, reaching)


def call_with(model: nn.Module, inputs: Mapping[str, Any] | Any) -> Any:
    """The model's output for keyword arguments, a tuple of positional ones, or one tensor."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


class _Watch(TorchDispatchMode):
    """Follows parameters through every operation, by the memory that tensors share with their views."""

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        super().__init__()
        self.first_use: dict[str, int] = {}
        self.names: list[str] = []
        self._owners: list[str] = []
        self._index: dict[int, int] = {}
        self._own_memory: dict[int, int] = {}  # storage of a parameter -> its bit
        for name, parameter in model.named_parameters():
            index = len(self.names)
            self._index[id(parameter)] = index
            self.names.append(name)
            self._owners.append(name.rpartition(".")[0])
            self._own_memory.setdefault(_memory(parameter), index)
        self._reads: dict[int, int] = {}
        self._entered: dict[int, int] = {}  # storage -> bits of the parameters whose values are in it
        given = [leaf for leaf in tree_flatten(inputs)[0] if isinstance(leaf, Tensor)]
        self._entered.update({_memory(tensor): 1 << len(self.names) for tensor in given})
        self._last: dict[int, frozenset[int]] = {}  # storage -> the parameters that were applied last
        self._kept: list[Tensor] = []  # memory must not be used again while it stands for a tensor

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_flatten((args, kwargs or {}))[0] if isinstance(leaf, Tensor)]
        used = [self._index[id(tensor)] for tensor in given if id(tensor) in self._index]
        seen, applied = 0, set(used)
        last: set[int] = set()
        for tensor in given:
            memory = _memory(tensor)
            if memory in self._own_memory:
                if id(tensor) not in self._index:
                    applied.add(self._own_memory[memory])
                continue
            seen |= self._entered.get(memory, 0)
            last |= self._last.get(memory, frozenset())
        for index in used:
            self.first_use.setdefault(self.names[index], len(self.first_use))
        for index in applied:
            # A transposed weight is read before it is applied: what it is first applied to counts.
            if not self._reads.get(index):
                self._reads[index] = seen
        for index in applied:
            seen |= 1 << index
        for tensor in tree_flatten(output)[0]:
            if isinstance(tensor, Tensor) and (memory := _memory(tensor)) not in self._own_memory:
                self._entered[memory] = self._entered.get(memory, 0) | seen
                self._last[memory] = frozenset(applied or last)
                self._kept.append(tensor)
        return output

    def sources_of(self, tensor: Tensor) -> list[str]:
        """Modules that hold the parameters that were applied last."""
        found = self._last.get(_memory(tensor), frozenset())
        return list(dict.fromkeys(self._owners[index] for index in sorted(found)))

    def entered(self, tensors: Iterable[Tensor]) -> frozenset[str]:
        """Names of the parameters whose values are in any of these tensors."""
        mask = 0
        for tensor in tensors:
            mask |= self._entered.get(_memory(tensor), 0)
        return frozenset(name for bit, name in enumerate(self.names) if mask >> bit & 1)

    def named_reads(self) -> dict[str, int]:
        """Parameter -> bits of the parameters before it."""
        return {self.names[index]: mask for index, mask in self._reads.items()}


def _memory(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # sparse and other tensors without one piece of memory
        return id(tensor)


def _logits(output: Any) -> tuple[list[Tensor], bool]:
    """What the logits are in a model's output, and whether it says so."""
    if isinstance(output, Mapping):
        named = [value for key, value in output.items() if "logits" in str(key)]
        if found := _floats(named):
            return found, True
        output = [value for key, value in output.items() if "loss" not in str(key)] or list(output.values())
    found = _floats(output)
    return [tensor for tensor in found if tensor.dim() > 1] or found, False


def _floats(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, Tensor) and leaf.is_floating_point()]


@contextmanager
def _unobserved(model: nn.Module) -> Iterator[None]:
    """Who counts or records what modules give does not see a probing forward; hooks before a forward stay, for some
    compute weights."""
    hooks = [(module, module._forward_hooks) for module in model.modules() if module._forward_hooks]
    try:
        for module, own in hooks:
            module._forward_hooks = type(own)()
        yield
    finally:
        for module, own in hooks:
            module._forward_hooks = own


@contextmanager
def _silence() -> Iterator[None]:
    """A probing forward warns nobody."""
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
