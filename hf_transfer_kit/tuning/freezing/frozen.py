"""Freezing and thawing parts of a model: no gradient, BatchNorm statistics fixed, dropout off.

Several owners (a static choice, a schedule) may freeze parts of one model; a parameter is frozen while anyone freezes
it, and what was frozen by hand before stays so. A frozen module is held in evaluation mode through every
``model.train()``, which Trainer calls at each step, by an instance attribute that shadows ``Module.train``. All of it
is no part of the state dict and survives deepcopy and pickling. A module whose ``train`` somebody else shadowed is left
to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from torch import nn

from hf_transfer_kit.backbones.adapters import adapter_parameters, added_by_peft, is_under
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.values import LayerGroup

BATCH_NORM = ("freeze", "update", "affine_only")
DROPOUT = ("off", "on")

_ATTRIBUTE = "_frozen_parts"
_PLACES = "_frozen_places"


@dataclass(frozen=True)
class FrozenPart:
    """What one owner froze.

    Args:
        parameters: Names of parameters that got no gradient because of it.
        modules: Names of modules that are frozen with everything below them.
        batch_norm: ``"freeze"``, ``"update"`` or ``"affine_only"``.
        dropout: ``"off"`` or ``"on"``.
        spares_adapters: Whether peft adapters inside stay trainable and follow ``train()``.
    """

    parameters: frozenset[str]
    modules: frozenset[str]
    batch_norm: str = "freeze"
    dropout: str = "off"
    spares_adapters: bool = False


def freeze(
    model: nn.Module,
    groups: Iterable[LayerGroup],
    *,
    owner: str,
    batch_norm: str = "freeze",
    dropout: str = "off",
    spare_adapters: bool = False,
) -> None:
    """Makes ``groups`` the part of ``model`` that ``owner`` freezes, in place; a later call by the owner moves it.

    Args:
        model: The model the groups belong to. Containers of which nothing is left to train are held in evaluation
            mode as well: some networks decide there whether to drop whole layers.
        groups: Groups, or parts of them, to freeze.
        owner: Who freezes: the key under which ``thaw`` finds it again.
        batch_norm: ``"freeze"``: statistics and affine parameters fixed. ``"update"``: affine parameters fixed,
            statistics follow the data. ``"affine_only"``: statistics fixed, affine parameters trained.
        dropout: ``"off"`` in the frozen part, or ``"on"``: everything but BatchNorm follows ``train()``.
        spare_adapters: peft adapters in ``groups`` stay trainable and follow ``train()``.
    """
    check_options(batch_norm=batch_norm, dropout=dropout)
    groups = list(groups)
    names = {name for group in groups for name in group.parameters}
    if batch_norm == "affine_only":
        names -= batch_norm_parameters(model)
    if spare_adapters:
        names -= adapter_parameters(model)
    parts = _parts_of(model)
    already = set().union(*(part.parameters for part in parts.values()))
    own = frozenset(n for n, p in model.named_parameters() if n in names and (p.requires_grad or n in already))
    modules = frozenset(name for group in groups for name in group.modules)
    parts[owner] = FrozenPart(own, modules, batch_norm, dropout, spare_adapters)
    _apply(model, parts)


def thaw(model: nn.Module, *, owner: str) -> None:
    """Takes back what ``owner`` froze; what others froze stays."""
    parts = _parts_of(model)
    if parts.pop(owner, None) is not None:
        _apply(model, parts)


def is_frozen_by(model: nn.Module, *, owner: str) -> bool:
    """Whether ``owner`` has frozen a part of ``model`` and not thawed it."""
    return owner in _parts_of(model)


def hold(model: nn.Module, *, owner: str) -> None:
    """Freezes again what ``owner`` froze and something else has made trainable since; its gradients are dropped."""
    for module, name in _places(model, owner):
        parameter = module._parameters.get(name)
        if parameter is not None and parameter.requires_grad:
            parameter.requires_grad_(False)
            parameter.grad = None


def _places(model: nn.Module, owner: str) -> list[tuple[nn.Module, str]]:
    """Where ``owner``'s parameters are: their modules and names there. Asked twice a step, so looked for once."""
    part = _parts_of(model).get(owner)
    if part is None:
        return []
    known = vars(model).setdefault(_PLACES, {})
    if owner not in known or known[owner][0] is not part:
        modules = dict(model.named_modules())
        split = [name.rpartition(".") for name in part.parameters]
        known[owner] = (part, [(modules[above], name) for above, _, name in split if above in modules])
    return known[owner][1]


def frozen_by(model: nn.Module, *, owner: str) -> frozenset[str]:
    """Names of the parameters that get no gradient because of ``owner``."""
    part = _parts_of(model).get(owner)
    return part.parameters if part is not None else frozenset()


def check_options(*, batch_norm: str, dropout: str) -> None:
    """Raises SettingsError when one of the options is unknown."""
    if batch_norm not in BATCH_NORM:
        raise SettingsError(
            f"batch_norm={batch_norm!r} is unknown; choose one of {', '.join(BATCH_NORM)}."
            f"{did_you_mean(batch_norm, BATCH_NORM)}"
        )
    if dropout not in DROPOUT:
        raise SettingsError(
            f"dropout={dropout!r} is unknown; choose one of {', '.join(DROPOUT)}.{did_you_mean(dropout, DROPOUT)}"
        )


def is_held(module: nn.Module) -> bool:
    """Whether the module is held in evaluation mode by ``freeze``."""
    return getattr(vars(module).get("train"), "func", None) is _train_children_only


def _parts_of(model: nn.Module) -> dict[str, FrozenPart]:
    return dict(vars(model).get(_ATTRIBUTE, {}))


def _apply(model: nn.Module, parts: dict[str, FrozenPart]) -> None:
    before = set().union(*(part.parameters for part in _parts_of(model).values()))
    now = set().union(*(part.parameters for part in parts.values()))
    for name, parameter in model.named_parameters():
        if name in now:
            parameter.requires_grad_(False)
            parameter.grad = None
        elif name in before:
            parameter.requires_grad_(True)
    setattr(model, _ATTRIBUTE, parts)
    held = _held_modules(model, parts.values())
    for module in model.modules():
        if id(module) in held:
            if "train" not in vars(module):
                module.training = False
                vars(module)["train"] = partial(_train_children_only, module)
        elif is_held(module):
            del vars(module)["train"]
            module.training = model.training


def _held_modules(model: nn.Module, parts: Iterable[FrozenPart]) -> set[int]:
    """Ids of the modules that the parts hold in evaluation mode."""
    modules = dict(model.named_modules())
    added = added_by_peft(model)
    held: set[int] = set()
    for part in parts:
        frozen = {
            id(inner): (f"{name}.{inner_name}", inner)
            for name in part.modules
            if name in modules
            for inner_name, inner in modules[name].named_modules()
        }
        for name, module in modules.items():
            own = [f"{name}.{inner}".lstrip(".") for inner, _ in module.named_parameters()]
            spent = not any(parameter.requires_grad for parameter in module.parameters())
            if own and spent and not part.parameters.isdisjoint(own):
                frozen[id(module)] = (name, module)
        if part.spares_adapters:
            frozen = {key: (name, module) for key, (name, module) in frozen.items() if not is_under(name, added)}
        held |= {key for key, (_, module) in frozen.items() if _is_still(module, part)}
    return held


def _is_still(module: nn.Module, part: FrozenPart) -> bool:
    if keeps_statistics(module):
        return part.batch_norm != "update"
    return part.dropout == "off"


def keeps_statistics(module: nn.Module) -> bool:
    """Whether the module is a BatchNorm (or InstanceNorm) with running statistics."""
    return isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats


def batch_norm_parameters(model: nn.Module) -> set[str]:
    """Names of the affine parameters of BatchNorm in ``model``."""
    return {
        f"{name}.{inner}"
        for name, module in model.named_modules()
        if keeps_statistics(module)
        for inner, _ in module.named_parameters(recurse=False)
    }


def _train_children_only(module: nn.Module, mode: bool = True) -> nn.Module:
    module.training = False
    for child in module.children():
        child.train(mode)
    return module
