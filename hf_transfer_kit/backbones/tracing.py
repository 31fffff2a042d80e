"""Sections of a module of unknown architecture: top-level children in the order one forward executes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hf_transfer_kit.backbones.sections import Section
from hf_transfer_kit.errors import ModelError


def traced_sections(model: nn.Module, example_inputs: Mapping[str, Any] | Any | None = None) -> list[Section]:
    """Top-level children with parameters as sections, in order of execution.

    A child that is the only one with parameters is opened up, and so is every ``nn.Sequential``, whose order is
    known without a forward.

    Args:
        model: The module.
        example_inputs: Keyword arguments, or one tensor, for one forward without gradient in evaluation mode. Not
            needed for an ``nn.Sequential``.

    Raises:
        ModelError: When example inputs are missing, or a part with parameters is not executed.
    """
    parts = _parts(model, "")
    if not isinstance(model, nn.Sequential) and len(parts) > 1:
        order = execution_order(model, [name for name, _ in parts], example_inputs)
        parts = sorted(parts, key=lambda part: order[part[0]])
    direct = tuple(name for name, _ in model.named_parameters(recurse=False))
    opened = [section for name, module in parts for section in _opened(name, module)]
    if direct:
        first = opened[0] if opened else Section("parameters", ())
        opened[:1] = [Section(first.name, (*first.members, *direct))]
    return opened


def execution_order(
    model: nn.Module, names: list[str], example_inputs: Mapping[str, Any] | Any | None
) -> dict[str, int]:
    """Position of each named module in one forward of the model; the model, its mode and random state stay as they are.

    Raises:
        ModelError: When example inputs are missing or a module is not executed.
    """
    inputs = example_inputs if example_inputs is not None else getattr(model, "dummy_inputs", None)
    if inputs is None:
        raise ModelError(
            f"{type(model).__name__} is no architecture the kit knows, and the order of its parts "
            f"({', '.join(names)}) cannot be told without running it. Give layer_groups(model, example_inputs=...)."
        )
    order: dict[str, int] = {}

    def note(name: str):
        def hook(*_) -> None:
            order.setdefault(name, len(order))

        return hook

    handles = [
        inner.register_forward_pre_hook(note(name)) for name in names for inner in model.get_submodule(name).modules()
    ]
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model.eval()
            if isinstance(inputs, Mapping):
                model(**inputs)
            else:
                model(inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    missing = [name for name in names if name not in order]
    if missing:
        raise ModelError(
            f"{', '.join(missing)} of {type(model).__name__} hold parameters but one forward did not run them, so "
            "their depth cannot be told. Give example_inputs that use them."
        )
    return order


def _parts(model: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    """Children with parameters, as (qualified name, module)."""
    return [
        (f"{prefix}{name}", child) for name, child in model.named_children() if any(True for _ in child.parameters())
    ]


def _opened(name: str, module: nn.Module) -> list[Section]:
    """A Sequential's children one by one, any other module as one section."""
    inside = _parts(module, f"{name}.")
    if isinstance(module, nn.Sequential) and len(inside) > 1:
        return [Section(inner, (inner,)) for inner, _ in inside]
    return [Section(name, (name,))]
