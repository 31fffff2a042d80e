"""Separate inputs: each has the first layer groups of the trunk for itself, and what follows is shared."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.new_heads import initialize_module
from hf_transfer_kit.backbones.splitting import unit_modules
from hf_transfer_kit.errors import DataError, ModelError, SettingsError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


class InputReading:
    """Which input passes through the trunk now; shared by all its own modules."""

    def __init__(self, name: str) -> None:
        self.name = name


class OwnModules(nn.Module):
    """One module of the trunk, of which each input has its own; runs that of the input that is being read.

    What is asked of it beyond a forward (an attribute, a child) is answered by that same module.

    Args:
        of: Input -> module.
        reading: Says which input is being read.
    """

    def __init__(self, of: Mapping[str, nn.Module], reading: InputReading) -> None:
        super().__init__()
        self.of = nn.ModuleDict(of)
        self.reading = reading

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the current input's module makes of the arguments."""
        return self.of[self.reading.name](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "of" not in self.__dict__.get("_modules", {}):
                raise
            return getattr(cast(nn.ModuleDict, self._modules["of"])[self.reading.name], name)


def own_modules(network: nn.Module) -> dict[str, OwnModules]:
    """Qualified name -> each module of which inputs have their own."""
    return {name: module for name, module in network.named_modules() if isinstance(module, OwnModules)}


def separate_inputs(
    network: PreTrainedModel, inputs: Mapping[str, Mapping[str, int]], shared_from: int, *, own_batch_norms: bool = True
) -> InputReading:
    """Gives each input its own copies of the first layer groups, in place.

    A parameter that stands in no module of its own group (the class token and the positions of timm's vision
    transformers, the mask of a speech model) stays shared.

    Args:
        network: With its label head still on.
        inputs: Name -> ``channels`` and ``vocab_size``, where they differ from the network's.
        shared_from: Number of first layer groups that each input has for itself.
        own_batch_norms: Whether each of several inputs has the BatchNorms of shared layers for itself, too.

    Returns:
        What to tell which input is being read.

    Raises:
        SettingsError: When there are not so many groups, or an input's setting finds no layer that it could change.
        ModelError: When a weight of these groups is used elsewhere too.
    """
    names = list(inputs)
    reading = InputReading(names[0])
    if shared_from:
        _separate_groups(network, inputs, shared_from, reading)
    if own_batch_norms and len(names) > 1:
        _separate_batch_norms(network, names, reading)
    return reading


def join_input(network: nn.Module, name: str) -> None:
    """Makes ``network`` the ordinary network of one input, in place: its own modules stand where they were copied."""
    for place, module in own_modules(network).items():
        network.set_submodule(place, module.of[name])


def parameters_of(network: nn.Module, name: str) -> list[nn.Parameter]:
    """The parameters that one input has for itself."""
    return [parameter for module in own_modules(network).values() for parameter in module.of[name].parameters()]


def check_channels(network: nn.Module, name: str, inputs: Mapping[str, Tensor]) -> None:
    """Refuses pictures that do not fit the first convolution that an input has for itself.

    Raises:
        DataError: When the number of channels differs.
    """
    pictures = inputs.get("pixel_values")
    first = next((conv for m in own_modules(network).values() for conv in _convolutions(m.of[name])), None)
    if pictures is None or pictures.dim() != 4 or first is None or pictures.shape[1] == first.in_channels:
        return
    raise DataError(
        f"Pictures of the input {name!r} have {pictures.shape[1]} channels, but its first layer reads "
        f"{first.in_channels}. Convert them, or give the input channels={pictures.shape[1]}."
    )


def _separate_groups(
    network: PreTrainedModel, inputs: Mapping[str, Mapping[str, int]], shared_from: int, reading: InputReading
) -> None:
    names = list(inputs)
    body = layer_groups(network).body
    if shared_from > len(body):
        raise SettingsError(
            f"shared_from={shared_from}, but {type(network).__name__} has {len(body)} layer groups before its head "
            f"({', '.join(group.name for group in body)}). Give a number from 0 to {len(body)}."
        )
    units = {
        inner_name: inner
        for name, module in unit_modules(body[:shared_from]).items()
        for inner_name, inner in _opened(name, module)
        if any(True for _ in inner.parameters())
    }
    _check_untied(network, units)
    copies = {name: units if name == names[0] else copy.deepcopy(units) for name in names}
    for name, settings in inputs.items():
        if "channels" in settings:
            _change_channels(network, name, copies[name], settings["channels"])
        if "vocab_size" in settings:
            _change_vocabulary(network, name, copies[name], settings["vocab_size"])
    for unit in units:
        network.set_submodule(unit, OwnModules({name: copies[name][unit] for name in names}, reading))


def _separate_batch_norms(network: nn.Module, names: list[str], reading: InputReading) -> None:
    own = own_modules(network)
    found = {
        place: module
        for place, module in network.named_modules()
        if isinstance(module, _BatchNorm) and not any(place.startswith(f"{unit}.") for unit in own)
    }
    for place, module in found.items():
        copies = {name: module if name == names[0] else copy.deepcopy(module) for name in names}
        network.set_submodule(place, OwnModules(copies, reading))


def _opened(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The members of a container, which its owner may index or walk through, else the module itself."""
    if type(module) not in (nn.ModuleList, nn.Sequential):
        return [(name, module)]
    return [found for child_name, child in module.named_children() for found in _opened(f"{name}.{child_name}", child)]


def _check_untied(network: nn.Module, units: Mapping[str, nn.Module]) -> None:
    own = {id(parameter) for module in units.values() for parameter in module.parameters()}
    seen: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if id(parameter) in own and id(parameter) in seen:
            raise ModelError(
                f"{type(network).__name__} uses one weight as {seen[id(parameter)]!r} and as {name!r}, so no input can "
                "have it for itself. Set shared_from=0, or choose a backbone whose first layers are its own."
            )
        seen[id(parameter)] = name


def _convolutions(module: nn.Module) -> list[Any]:
    return [layer for layer in module.modules() if isinstance(layer, _CONVOLUTIONS)]


def _change_channels(network: nn.Module, name: str, units: Mapping[str, nn.Module], channels: int) -> None:
    convolution = next((layer for module in units.values() for layer in _convolutions(module)), None)
    if convolution is None or convolution.groups != 1:
        raise SettingsError(
            f"Input {name!r} has channels={channels}, but the first layer groups of {type(network).__name__} begin "
            "with no convolution over channels. Leave channels out, or raise shared_from so that one is among them."
        )
    before = convolution.in_channels
    convolution.weight = nn.Parameter(with_channels(convolution.weight.detach(), channels))
    convolution.in_channels = channels
    layer: Any
    for module in units.values():
        for layer in module.modules():
            if getattr(layer, "num_channels", None) == before and not isinstance(layer, nn.GroupNorm):
                layer.num_channels = channels  # transformers' own check of what comes in


def with_channels(weight: Tensor, channels: int) -> Tensor:
    """Weights (O, I, ...) for another number of channels, so that like channels give the same outputs as before.

    For one channel the sum over the old ones; else the old ones again and again, scaled by I / channels.
    """
    before = weight.shape[1]
    if channels == before:
        return weight.clone()
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    index = torch.arange(channels, device=weight.device) % before
    return weight[:, index] * (before / channels)


def _change_vocabulary(network: PreTrainedModel, name: str, units: Mapping[str, nn.Module], size: int) -> None:
    before = getattr(network.config, "vocab_size", None)
    for unit in units.values():
        for place, layer in unit.named_modules():
            if isinstance(layer, nn.Embedding) and layer.num_embeddings == before:
                padding = layer.padding_idx if layer.padding_idx is not None and layer.padding_idx < size else None
                new = nn.Embedding(
                    size, layer.embedding_dim, padding, device=layer.weight.device, dtype=layer.weight.dtype
                )
                initialize_module(network, new)
                if place:
                    unit.set_submodule(place, new)
                else:
                    _become(layer, new)
                return
    raise SettingsError(
        f"Input {name!r} has vocab_size={size}, but the first layer groups of {type(network).__name__} hold no "
        "embedding of tokens. Leave vocab_size out, or raise shared_from so that it is among them."
    )


def _become(layer: nn.Embedding, new: nn.Embedding) -> None:
    """An embedding that is a whole unit changes in place."""
    layer.weight, layer.num_embeddings, layer.padding_idx = new.weight, new.num_embeddings, new.padding_idx
