"""Feature maps: the tensors between the layers of a network, caught by hooks while one forward runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.adapters import outermost
from hf_transfer_kit.backbones.example_inputs import traced
from hf_transfer_kit.backbones.heads import find_head, last_layer
from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.unwrapping import plain_model, timm_model
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.values import LayerGroup


class FeatureMaps:
    """Catches outputs and inputs of modules during the forwards of one network.

    Caught is only what runs between ``open`` and ``close``: a block that gradient checkpointing runs once more in the
    backward is not. A module that runs several times in one forward gives its last tensor. ``outside_graph`` names a
    map that was computed without gradients.

    Args:
        outputs: Name of a map -> modules; the map is the output of the one of them that ran last.
        inputs: Name of a map -> module; the map is its first input.
    """

    def __init__(
        self, *, outputs: Mapping[str, Sequence[nn.Module]] | None = None, inputs: Mapping[str, nn.Module] | None = None
    ) -> None:
        self.maps: dict[str, torch.Tensor] = {}
        self.names = (*(outputs or {}), *(inputs or {}))
        self.is_open = False
        self.autocast: tuple[bool, torch.dtype] | None = None
        self.outside_graph: str | None = None
        self._handles = []
        for name, modules in (outputs or {}).items():
            self._handles += [module.register_forward_hook(self._output_hook(name)) for module in modules]
        for name, module in (inputs or {}).items():
            self._handles.append(module.register_forward_pre_hook(self._input_hook(name), with_kwargs=True))

    def open(self) -> None:
        """Starts catching, with nothing caught."""
        self.maps, self.autocast, self.outside_graph, self.is_open = {}, None, None, True

    def close(self) -> dict[str, torch.Tensor]:
        """Stops catching; hands over what was caught and keeps nothing, so that no graph outlives its backward."""
        caught, self.maps, self.is_open = self.maps, {}, False
        return caught

    def remove(self) -> None:
        """Takes the hooks off; calling it twice does no harm."""
        while self._handles:
            self._handles.pop().remove()

    def _output_hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            tensor = first_tensor(output)
            if self.is_open and tensor is not None:
                self._keep(name, tensor)

        return hook

    def _input_hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tensor = first_tensor([*args, *kwargs.values()])
            if self.is_open and tensor is not None:
                self._keep(name, tensor)

        return hook

    def _keep(self, name: str, tensor: torch.Tensor) -> None:
        self.maps[name] = tensor
        if not torch.is_grad_enabled():
            self.outside_graph = name
        # Inside forward, so that mixed precision is known also where only forward runs in it.
        kind = tensor.device.type
        self.autocast = (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))


@contextmanager
def same_precision(maps: FeatureMaps, device: torch.device) -> Iterator[None]:
    """Runs the block in the mixed precision in which ``maps`` last caught something."""
    enabled, dtype = maps.autocast or (False, torch.float32)
    if not enabled:
        yield
        return
    with torch.autocast(device.type, dtype=dtype):
        yield


def body_modules(model: nn.Module, layers: int | str | Sequence[str]) -> dict[str, list[str]]:
    """Which modules' outputs are the feature maps of a model's body.

    Args:
        model: A model ``layer_groups`` knows.
        layers: A number n: the outputs of n layer groups spread evenly over the body, the last one included (all when
            there are fewer). Or names of layer groups or modules.

    Returns:
        Map name -> qualified names of modules of which the last to run gives the map, input to output.

    Raises:
        SettingsError: When the number is below 1 or a name is unknown.
    """
    body = layer_groups(model).body
    if isinstance(layers, int):
        if isinstance(layers, bool) or layers < 1:
            raise SettingsError(f"layers={layers}: give a number of layer groups, at least 1, or names.")
        count = min(layers, len(body))
        depths = [round((index + 1) * len(body) / count) - 1 for index in range(count)]
        return {body[depth].name: _heard(model, _with_parameters(body[depth])) for depth in depths}
    groups = {group.name: group for group in body}
    modules = dict(model.named_modules())
    chosen: dict[str, list[str]] = {}
    for name in [layers] if isinstance(layers, str) else layers:
        if name in groups:
            chosen[name] = _heard(model, _with_parameters(groups[name]))
        elif name and name in modules:
            chosen[name] = [name]
        else:
            raise SettingsError(
                f"layers={name!r} is neither a layer group nor a module of {type(model).__name__}. Layer groups before "
                f"the head are {', '.join(groups)}."
            )
    if not chosen:
        raise SettingsError("layers is empty: give a number of layer groups, at least 1, or names.")
    return chosen


def _heard(model: nn.Module, names: list[str]) -> list[str]:
    """Those of the modules that the outputs hear of: a pooler that is computed and not read gives no feature map."""
    inner, prefix = plain_model(model)
    try:
        reaching = {f"{prefix}{name}" for name in traced(inner).reaching}
    except ModelError:
        return names
    return [name for name in names if any(own.startswith(f"{name}.") for own in reaching)] or names


def head_input(model: nn.Module) -> tuple[str, nn.Module]:
    """The module whose input is "the feature": the first one of the head that holds parameters, with its name.

    Raises:
        ModelError: When the model has no head.
    """
    for name, module in find_head(model).items():
        if any(True for _ in module.parameters()):
            return _entered(name, module)
    raise ModelError(
        f"{type(model).__name__} has no head, so there is no feature in front of it. Load it for the task, such as "
        "AutoModelForImageClassification, or use load_model."
    )


def logits_layer(model: nn.Module) -> tuple[str, nn.Linear]:
    """The linear layer that gives the logits, with its name.

    Raises:
        ModelError: When there is none, or it is a convolution.
    """
    name, layer = last_layer(model)
    if not isinstance(layer, nn.Linear):
        raise ModelError(
            f"The logits of {type(model).__name__} come from {name!r}, a {type(layer).__name__}; a head's weights can "
            "be carried over only where it is a Linear."
        )
    return name, layer


def label_head(network: PreTrainedModel) -> tuple[str, nn.Module]:
    """What turns one row of features into logits, with its name.

    It is the linear layer that gives the logits, with what peft put in its place; where that ends a Sequential of the
    head, all of the Sequential, so that a head of several layers (that of the DANN paper, say) is not counted as
    features.

    Raises:
        ModelError: When there is no linear layer at the end, or several stand side by side.
    """
    heads = find_head(network)
    side_by_side = [name for name, module in heads.items() if isinstance(module, nn.Linear)]
    if hasattr(network, "timm_model") and len(side_by_side) > 1:
        raise ModelError(
            f"{type(network).__name__} averages the logits of {', '.join(side_by_side)}, so no single row of features "
            "stands before its head. Choose an architecture with one head."
        )
    head: nn.Module
    name, head = logits_layer(network)
    if (place := outermost(network, name)) != name:
        return place, network.get_submodule(place)
    while any(name.startswith(f"{outer}.") for outer in heads):
        outer_name = name.rpartition(".")[0]
        outer = network.get_submodule(outer_name)
        first = next(layer for layer in outer.modules() if any(True for _ in layer.parameters(recurse=False)))
        if not (isinstance(outer, nn.Sequential) and isinstance(first, nn.Linear)):
            break
        name, head = outer_name, outer
    return name, head


def group_output(group: LayerGroup, *, first: bool) -> list[str]:
    """Names of the modules of which the last to run gives the output of a layer group.

    A pooling that shares the group of the last block is left out.

    Args:
        group: A layer group.
        first: Whether it is the first one, whose dropout is what runs on the sum of several embeddings.
    """
    return _with_parameters(group) + [
        name for name, module in group.modules.items() if first and isinstance(module, nn.Dropout)
    ]


def is_added_up_outside(group: LayerGroup) -> bool:
    """Whether what convolutions give and a table of positions are added by no module of the group, as in Whisper's
    encoder: their sum is what enters the next group."""
    kinds = [type(module) for module in group.modules.values()]
    return nn.Embedding in kinds and any(issubclass(kind, (nn.Conv1d, nn.Conv2d)) for kind in kinds)


def channel_axis(model: nn.Module, dimensions: int, *, module: nn.Module | None = None) -> int:
    """Axis of the channels in a model's maps: 1 in (B, C, H, W), last in (B, T, D), (B, D) and channels-last nets.

    Args:
        model: The model.
        dimensions: Of the map.
        module: Where the map comes out of; convolutions over time alone give (B, C, T).
    """
    if dimensions == 3 and module is not None:
        kinds = [type(layer) for layer in module.modules()]
        return 1 if nn.Conv1d in kinds and nn.Linear not in kinds else 2
    timm = timm_model(model)
    last = timm is not None and getattr(timm[0], "output_fmt", "NCHW") == "NHWC"
    return 1 if dimensions == 4 and not last else dimensions - 1


def position_mask(model: nn.Module, mask: torch.Tensor | None, positions: int) -> torch.Tensor | None:
    """Which positions of a map are no padding: bool of shape (B, positions), or None where that cannot be told.

    Args:
        model: The model; one of speech that shortens its input tells how its mask shortens.
        mask: The batch's attention mask of shape (B, T), 1 where there is input.
        positions: Length of the map.
    """
    if mask is None or mask.dim() != 2:
        return None
    if mask.shape[1] == positions:
        return mask.bool()
    shortened = getattr(plain_model(model)[0], "_get_feature_vector_attention_mask", None)
    return shortened(positions, mask).bool() if shortened is not None else None


def pooled(features: torch.Tensor, axis: int) -> torch.Tensor:
    """Mean over positions: (B, D) from (B, ..., D) with the channels on ``axis``."""
    return features if features.dim() == 2 else features.movedim(axis, -1).flatten(1, -2).mean(dim=1)


def first_tensor(value: object) -> torch.Tensor | None:
    """The first floating point tensor in nested lists, tuples and mappings; None when there is none."""
    if isinstance(value, torch.Tensor):
        return value if value.is_floating_point() else None
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return next((found for item in value if (found := first_tensor(item)) is not None), None)
    return None


def _entered(name: str, module: nn.Module) -> tuple[str, nn.Module]:
    """The first child with parameters, again and again while the module itself has none and is no one's callee."""
    while isinstance(module, nn.Sequential):
        child_name, child = next((n, c) for n, c in module.named_children() if any(True for _ in c.parameters()))
        name, module = f"{name}.{child_name}", child
    return name, module


def _with_parameters(group: LayerGroup) -> list[str]:
    """A pooling that shares the group of the last block is none of its feature maps, nor is a table of positions that
    is added to what convolutions give."""
    tables = nn.Embedding if is_added_up_outside(group) else ()
    modules = {name: module for name, module in group.modules.items() if not isinstance(module, tables)}
    return [name for name, module in modules.items() if any(True for _ in module.parameters())]
