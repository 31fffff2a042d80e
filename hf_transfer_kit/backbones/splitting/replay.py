"""A network whose first part is not run: its units answer with tensors that were computed before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, Signature, signature
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.splitting.calls import call_forward, unit_modules
from hf_transfer_kit.backbones.splitting.split import INPUT, Split, TensorShape, parts_of
from hf_transfer_kit.errors import ModelError

CACHED = "cached_"
SHAPES = "cached_shapes"


def cached_key(index: int) -> str:
    """Key in a batch of the split's ``index``-th live tensor."""
    return f"{CACHED}{index}"


class Substitution:
    """While installed and active, units return what ``answer`` gives, and some modules take other inputs than handed.

    Args:
        units: Qualified name -> module that is not to run.
        answer: Unit, number of the call -> its output.
        entered: Qualified name -> module whose inputs are replaced.
        enter: Module, number of the call, (args, kwargs) -> (args, kwargs).
    """

    def __init__(
        self,
        units: Mapping[str, nn.Module],
        answer: Callable[[str, int], Any],
        *,
        entered: Mapping[str, nn.Module] | None = None,
        enter: Callable[[str, int, Any], Any] | None = None,
    ) -> None:
        self.units, self.answer = units, answer
        self.entered, self.enter = entered or {}, enter
        self.is_active = False
        self._counts: Counter[str] = Counter()
        self._before: dict[str, Any] = {}
        self._handles: list[Any] = []

    def install(self) -> None:
        """Puts itself into the modules; inactive yet."""
        for unit, module in self.units.items():
            self._before[unit] = vars(module).get("forward")
            # Of the instance: hooks on the module still fire, its class and its place in the network stay.
            module.forward = partial(_answered, self, unit, module.forward)
        for unit, module in self.entered.items():
            hook = partial(_entered, self, unit)
            self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def remove(self) -> None:
        """Leaves the modules as they were."""
        self.is_active = False
        for unit, module in self.units.items():
            vars(module).pop("forward", None)
            if self._before[unit] is not None:
                module.forward = self._before[unit]
        while self._handles:
            self._handles.pop().remove()

    def begin(self, *, active: bool) -> None:
        """A new forward begins: calls are counted anew."""
        self.is_active = active
        self._counts.clear()

    def next_call(self, unit: str) -> int:
        """Number of this call of a unit, from 0."""
        self._counts[unit] += 1
        return self._counts[unit] - 1

    def __enter__(self) -> Substitution:
        self.install()
        self.begin(active=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def _answered(substitution: Substitution, unit: str, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not substitution.is_active:
        return forward(*args, **kwargs)
    return substitution.answer(unit, substitution.next_call(unit))


def _entered(substitution: Substitution, unit: str, module: nn.Module, args: Any, kwargs: Any) -> Any:
    if not substitution.is_active:
        return args, kwargs
    return cast(Callable, substitution.enter)(unit, substitution.next_call(f"{INPUT}{unit}"), (args, kwargs))


class SuffixMode:
    """Makes a model take batches of cached tensors and run only what comes after the cut.

    While it is on, a batch with the key ``cached_0`` runs the rest of the network alone; any other batch runs the whole
    network as ever. Weights, names, class and config stay, so checkpoints saved meanwhile are ordinary ones. The first
    part's parameters ask for no gradient.

    Args:
        model: The model.
        split: Where it is cut.

    Example:
        >>> from hf_transfer_kit.backbones.splitting.sample import Sample
        >>> sample = Sample((0, 1), batch=collator(train[:2]), alone=collator(train[:1]))
        >>> split = find_split(model.eval(), 2, sample)
        >>> mode = SuffixMode(model, split).on()
        >>> mode.off() is model
        True
    """

    def __init__(self, model: nn.Module, split: Split) -> None:
        self.model, self.split = model, split
        body = unit_modules(layer_groups(model)[: split.depth])
        missing = [unit for unit in split.calls if unit not in body]
        if missing:
            raise ModelError(f"{type(model).__name__} has no {missing[0]!r}: the cache was made for another network.")
        modules = dict(model.named_modules())
        self._values: dict[str, Tensor] = {}
        self._blank: dict[torch.dtype, Tensor] = {}
        self._substitution = Substitution(
            {unit: body[unit] for unit in split.calls},
            self._answer,
            entered={unit: modules[unit] for unit in split.entered},
            enter=self._enter,
        )
        self._prefix = {name for group in layer_groups(model)[: split.depth] for name in group.parameters}
        self._unfrozen: list[nn.Parameter] = []
        self.held = _held_modules(model, self._prefix, body, set(split.calls))
        self._before: Any = None
        self._original: Callable[..., Any] = model.forward
        self.is_on = False

    def on(self) -> SuffixMode:
        """Begins; a second call changes nothing."""
        if self.is_on:
            return self
        if isinstance(vars(self.model).get("forward"), partial):
            raise ModelError(
                f"{type(self.model).__name__} already runs on cached rows; call rejoin() on that cache first."
            )
        self._before, self._original = vars(self.model).get("forward"), self.model.forward
        for name, parameter in self.model.named_parameters():
            if name in self._prefix and parameter.requires_grad:
                parameter.requires_grad_(False)
                self._unfrozen.append(parameter)
        forward: Any = partial(_suffix_forward, self)
        forward.__signature__ = _with_cached(signature(self._original), self.split)
        self.model.forward = forward
        self._substitution.install()
        self.is_on = True
        return self

    def off(self) -> nn.Module:
        """Ends and returns the model, whole: nothing of this is left in it."""
        if not self.is_on:
            return self.model
        for name in ("forward", "_original_forward"):  # the latter is Accelerate's, for mixed precision
            vars(self.model).pop(name, None)
        if self._before is not None:
            self.model.forward = self._before
        for parameter in self._unfrozen:
            parameter.requires_grad_(True)
        self._unfrozen.clear()
        self._substitution.remove()
        self._values, self._blank = {}, {}
        self.is_on = False
        return self.model

    def run(self, cached: dict[str, Tensor], rest: dict[str, Any]) -> Any:
        """The output for cached tensors (by their keys) and the inputs that went along with them."""
        first = cached[cached_key(0)]
        rows = first.shape[0]
        shapes = cached.get(SHAPES)
        longest = None if shapes is None else shapes.amax(dim=0).tolist()
        values = {s.name: s.as_read(cached[cached_key(index)].to(s.dtype)) for index, s in enumerate(self.split.live)}
        start = 0
        for shape in self.split.dead:
            row = shape.row if longest is None else tuple(longest[start : start + len(shape.row)])
            start += len(shape.row)
            values[shape.name] = self._without_value(shape.dtype, shape.of_batch(rows, row), first.device)
        inputs = {name: values[name] for name in values if "/" not in name}
        self.hold()
        # Kept until the next forward: gradient checkpointing may ask a second time in the backward.
        self._values = values
        self._substitution.begin(active=True)
        return call_forward(self._original, {**inputs, **rest})

    def hold(self) -> None:
        """Puts what belongs to the first part and still runs into evaluation mode; Trainer calls train() each step."""
        for module in self.held:
            module.training = False

    def run_whole(self, args: Any, kwargs: Any) -> Any:
        """The output of the whole network for ordinary inputs."""
        self._substitution.begin(active=False)
        return self._original(*args, **kwargs)

    def _without_value(self, dtype: torch.dtype, size: tuple[int, ...], device: torch.device) -> Tensor:
        """Shape and type of a tensor that nothing may use; not-a-number at first, so that it shows when something does.

        Pictures' take no memory; those of texts and sounds share one piece, for masks are written into them in place.
        """
        value = float("nan") if dtype.is_floating_point else 0
        if not self.split.is_variable:
            return torch.full((), value, dtype=dtype, device=device).expand(size)
        count = torch.Size(size).numel()
        held = self._blank.get(dtype)
        if held is None or held.numel() < count or held.device != device:
            self._blank[dtype] = held = torch.full((count,), value, dtype=dtype, device=device)
        return held[:count].view(size)

    def _answer(self, unit: str, call: int) -> Any:
        calls = self.split.calls[unit]
        made = calls[call % len(calls)]
        leaves = [self._values[leaf.name] if isinstance(leaf, TensorShape) else leaf for leaf in made.leaves]
        return tree_unflatten(leaves, made.spec)

    def _enter(self, unit: str, call: int, inputs: Any) -> Any:
        leaves, spec = tree_flatten(inputs)
        for shape in self.split.entered[unit]:
            _, wanted, index = parts_of(shape.name)
            if wanted == call:
                leaves[index] = self._values[shape.name]
        return tree_unflatten(leaves, spec)


def _suffix_forward(mode: SuffixMode, *args: Any, **kwargs: Any) -> Any:
    if cached_key(0) not in kwargs:
        return mode.run_whole(args, kwargs)
    cached = {name: kwargs.pop(name) for name in list(kwargs) if name.startswith(CACHED)}
    return mode.run(cached, kwargs)


def _held_modules(
    model: nn.Module, prefix: set[str], units: Mapping[str, nn.Module], replaced: set[str]
) -> list[nn.Module]:
    """What of the first part still runs: units that are not replaced, and containers with nothing left to train.

    In such containers some networks decide what to drop or to mask.
    """
    inside = {id(inner) for module in units.values() for inner in module.modules()}
    running = {name: module for name, module in units.items() if name not in replaced}
    found = [inner for module in running.values() for inner in module.modules()]
    frozen = {
        id(parameter) for name, parameter in model.named_parameters() if name in prefix
    }  # tied ones bear one name
    for module in model.modules():
        own = {id(parameter) for parameter in module.parameters()}
        if id(module) not in inside and own and own <= frozen:
            found.append(module)
    return found


def _with_cached(original: Signature, split: Split) -> Signature:
    """The forward's signature with the cached tensors in it, for Trainer keeps only columns that it finds there."""
    names = [cached_key(index) for index in range(len(split.live))] + [SHAPES]
    added = [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in names]
    own = list(original.parameters.values())
    rest = [p for p in own if p.kind is Parameter.VAR_KEYWORD]
    return original.replace(parameters=[*(p for p in own if p not in rest), *added, *rest])
