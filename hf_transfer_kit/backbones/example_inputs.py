"""Inputs for one forward of any network: remembered, or made from what the network says of itself."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.left_out import left_out, with_left_out
from hf_transfer_kit.backbones.made_up import LENGTH, SAMPLES, SIDES, channels_of, picture, sides
from hf_transfer_kit.backbones.structure import structure_of
from hf_transfer_kit.backbones.tracing import Trace, trace
from hf_transfer_kit.backbones.transformers_inputs import inputs_of_transformers
from hf_transfer_kit.backbones.unwrapping import plain_model, timm_model
from hf_transfer_kit.errors import ModelError, first_line

_remembered: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()
_traces: weakref.WeakKeyDictionary[nn.Module, tuple[int, Trace | ModelError]] = weakref.WeakKeyDictionary()


def remember_inputs(model: nn.Module, inputs: Mapping[str, Any] | Any) -> None:
    """From now on a forward of ``model`` is made with these inputs: keyword arguments, a tuple or one tensor."""
    inner = plain_model(model)[0]
    if _remembered.get(inner) is not inputs:
        _remembered[inner] = inputs
        _traces.pop(inner, None)


def has_inputs(model: nn.Module) -> bool:
    """Whether inputs of this very model are remembered."""
    return plain_model(model)[0] in _remembered


def remembered_inputs(model: nn.Module) -> Any:
    """What ``remember_inputs`` was given for this plain model, None for nothing."""
    return _remembered.get(model)


def traced(model: nn.Module) -> Trace:
    """The trace of a plain model, with remembered inputs, else with the first made ones that it accepts.

    It is made once for a structure of the model.

    Raises:
        ModelError: When no forward could be made; says why the likeliest one failed.
    """
    structure = structure_of(model)
    known = _traces.get(model)
    if known is None or known[0] != structure:
        try:
            found: Trace | ModelError = _newly_traced(model)
        except ModelError as error:
            found = error
        _traces[model] = known = (structure, found)
    if isinstance(known[1], ModelError):
        raise ModelError(str(known[1]))
    return known[1]


def _newly_traced(model: nn.Module) -> Trace:
    if model in _remembered:
        try:
            found: Trace | None = trace(model, _placed(_remembered[model], model))
        except Exception as error:
            raise ModelError(
                f"{type(model).__name__} cannot run on the example inputs that were given ({_reason(error)}). Give "
                "what its forward takes: a dict of keyword arguments, a tuple, or one tensor."
            ) from error
        reason = ""
    else:
        found, reason = _widest_trace(model)
    if found is not None:
        return with_left_out(model, found, lambda inner: _widest_trace(inner)[0])
    raise ModelError(
        f"The order of the layers of {type(model).__name__} is read off one forward, and none could be made: {reason}. "
        "Call layer_groups(model, example_inputs=...) once; they are remembered for this model, callbacks included."
    )


def _widest_trace(model: nn.Module) -> tuple[Trace | None, str]:
    """The first made-up forward that works; where it leaves a network inside out, the one with further inputs that runs
    most; else None, and what the likeliest one said."""
    best: Trace | None = None
    given: frozenset[str] = frozenset()
    reason = "nothing is known of what it reads"
    for number, inputs in enumerate(_made(model)):
        names = frozenset(inputs) if isinstance(inputs, Mapping) else frozenset()
        if best is not None and not names > given:
            continue
        try:
            found = trace(model, _placed(inputs, model))
        except Exception as error:
            if number == 0:
                reason = f"on made-up inputs it says: {_reason(error)}"
            continue
        if best is None or len(found.first_use) > len(best.first_use):
            best, given = found, names
        if not left_out(model, best):
            break
    return best, reason


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"[:160]


def _placed(inputs: Any, model: nn.Module) -> Any:
    """Inputs on the model's device and, where they are floats, of its precision."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)

    def place(value: Any) -> Any:
        if not isinstance(value, Tensor) or first is None:
            return value
        return value.to(first.device, first.dtype if value.is_floating_point() else value.dtype)

    if isinstance(inputs, Mapping):
        return {name: place(value) for name, value in inputs.items()}
    return tuple(place(value) for value in inputs) if isinstance(inputs, tuple) else place(inputs)


def _made(model: nn.Module) -> Iterator[Any]:
    """Inputs that the network might accept, the likeliest first."""
    if isinstance(model, PreTrainedModel):
        yield from inputs_of_transformers(model)
        return
    if (timm := timm_model(model)) is not None:
        # The first convolution may read what was made of the picture.
        for channels in dict.fromkeys((channels_of(model), 3)):
            for side in sides(timm[0]):
                yield picture(channels, side)
        return
    yield from _of_any(model)


def _of_any(model: nn.Module) -> Iterator[Any]:
    """Inputs for a module that somebody wrote: by its forward's names, by known networks inside, by its first layer."""
    names = [
        p.name
        for p in signature(model.forward).parameters.values()
        if p.default is Parameter.empty and p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]
    accepted = signature(model.forward).parameters
    inner = next((m for m in model.modules() if isinstance(m, PreTrainedModel)), None)
    for labels in _labels(names, accepted):
        for inputs in inputs_of_transformers(inner) if inner is not None else ():
            named = {name: value for name, value in inputs.items() if name in accepted}
            if named:
                yield {**named, **labels}
            if len(named) < len(inputs):
                # A SentenceTransformer reads one dict; others take the first input by position.
                yield (dict(inputs), *labels.values())
                yield (next(iter(inputs.values())), *labels.values())
        others = [name for name in names if name not in labels]
        for value in _first_tensors(model):
            yield {**dict.fromkeys(others, value), **labels} if others else (value, *labels.values())


def _labels(required: list[str], accepted: Mapping[str, Parameter]) -> list[dict[str, Tensor]]:
    """Labels to give: those that must be; where none must, none, then those that may be (some models fail without)."""
    whole = torch.zeros(1, dtype=torch.long)
    must = {name: whole for name in required if _is_label(name)}
    may = {name: whole for name in accepted if _is_label(name)}
    return [must, may] if may != must else [must]


def _is_label(name: str) -> bool:
    return "label" in name or name in ("y", "target", "targets")


def _first_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Tensors that some early layer of the network would accept."""
    timm = next((t[0] for m in model.modules() if (t := timm_model(m)) is not None), None)
    tried: set[tuple] = set()
    for layer in model.modules():
        for value in _for_layer(layer, timm):
            key = (value.dtype, tuple(value.shape))
            if key not in tried and len(tried) < 60:
                tried.add(key)
                yield value


def _for_layer(layer: nn.Module, timm: nn.Module | None) -> list[Tensor]:
    if isinstance(layer, nn.Conv2d):
        return [picture(layer.in_channels, side) for side in (sides(timm) if timm is not None else SIDES)]
    if isinstance(layer, nn.Conv1d):
        return [torch.ones(1, layer.in_channels, length) for length in (64, *SAMPLES[:2])]
    if isinstance(layer, nn.Conv3d):
        return [torch.ones(1, layer.in_channels, 16, side, side) for side in (32, 112)]
    if isinstance(layer, nn.Embedding):
        return [torch.arange(LENGTH).remainder(layer.num_embeddings).reshape(1, -1)]
    if isinstance(layer, nn.Linear):
        side = round((layer.in_features) ** 0.5)
        flat = torch.linspace(-1, 1, layer.in_features)
        values = [flat.reshape(1, -1), flat.expand(1, LENGTH, -1)]
        return values + ([flat.reshape(1, 1, side, side)] if side * side == layer.in_features else [])
    if isinstance(layer, nn.RNNBase):
        return [torch.ones(1, LENGTH, layer.input_size)]
    return []
