"""Freezing and thawing parts of a model: no gradient, BatchNorm statistics fixed, dropout off.

A frozen module is held in evaluation mode through every ``model.train()``, which Trainer calls at each step, by an
instance attribute that shadows ``Module.train``. It is no part of the state dict and survives deepcopy and pickling.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from torch import nn

from hf_transfer_kit.values import LayerGroup


def freeze(
    model: nn.Module, frozen: Iterable[LayerGroup], *, thawed: Iterable[LayerGroup] = (), keep: Iterable[str] = ()
) -> None:
    """Makes ``frozen`` the frozen part of ``model``, in place; calling it again with other groups moves the border.

    Args:
        model: The model the groups belong to. Containers of which nothing is left to train are held in evaluation
            mode as well: some networks decide there whether to drop whole layers.
        frozen: Groups whose parameters get no gradient and whose modules stay in evaluation mode.
        thawed: Groups whose parameters ask for gradients again; their modules follow ``train()``.
        keep: Names of parameters in ``frozen`` that stay trainable, such as adapters.
    """
    kept = set(keep)
    held: set[int] = set()
    for group in thawed:
        for parameter in group.parameters.values():
            parameter.requires_grad_(True)
    for group in frozen:
        for name, parameter in group.parameters.items():
            if name not in kept:
                parameter.requires_grad_(False)
                parameter.grad = None
        for module in group.modules.values():
            held.update(id(inner) for inner in module.modules())
    for module in model.modules():
        if id(module) in held or _is_spent(module):
            _hold_in_eval(module)
        elif is_held(module):
            del module.train
            module.training = model.training


def is_held(module: nn.Module) -> bool:
    """Whether ``freeze`` holds the module in evaluation mode."""
    return "train" in vars(module)


def _hold_in_eval(module: nn.Module) -> None:
    module.training = False
    module.train = partial(_train_children_only, module)


def _train_children_only(module: nn.Module, mode: bool = True) -> nn.Module:
    module.training = False
    for child in module.children():
        child.train(mode)
    return module


def _is_spent(module: nn.Module) -> bool:
    """Whether the module has parameters and none of them is trainable."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
