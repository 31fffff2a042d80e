"""What the kit is told of a class of networks where one forward cannot tell it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from hf_transfer_kit.backbones.sections import Section
from hf_transfer_kit.errors import ModelError, SettingsError

_heads: dict[type, tuple[str, ...]] = {}
_architectures: dict[type, tuple[str, ...]] = {}


def register_head(model_class: type[nn.Module], *layers: str) -> None:
    """Tells which layers of a class give its outputs, where the kit finds none or others.

    ``replace_head``, ``layer_groups`` and all that asks them follow, also where such a network lies inside another.

    Args:
        model_class: The class; its subclasses are meant too.
        *layers: Qualified names of its last layers, linear or convolutions, such as ``"decoder.out"``.

    Raises:
        SettingsError: When ``model_class`` is no class of modules, or no layer is named.

    Example:
        >>> class Measured(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.first, self.out = nn.Linear(4, 6), nn.Linear(6, 3)
        >>> register_head(Measured, "out")
        >>> replace_head(Measured(), 5).out
        Linear(in_features=6, out_features=5, bias=True)
    """
    _heads[_checked_class(model_class, "register_head")] = _checked_names(layers, "register_head")


def register_architecture(model_class: type[nn.Module], groups: Sequence[str]) -> None:
    """Tells how a class of networks is cut into layer groups, from the input to the output.

    Args:
        model_class: The class; its subclasses are meant too.
        groups: A qualified name of a module or parameter for each group, ``*`` for any part between two dots: a pattern
            that fits several names gives a group for each, in order of definition (``"blocks.*"``). Several names
            joined by ``|`` share one group. The head is found as usual or given to ``register_head``.

    Raises:
        SettingsError: When ``model_class`` is no class of modules, or no group is named.

    Example:
        >>> class Measured(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.first, self.second, self.out = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        >>> register_architecture(Measured, ["first", "second"])
        >>> register_head(Measured, "out")
        >>> [group.name for group in layer_groups(Measured())]
        ['first', 'second', 'out']
    """
    _architectures[_checked_class(model_class, "register_architecture")] = _checked_names(
        groups, "register_architecture"
    )


def registered_head(model: nn.Module) -> dict[str, nn.Module]:
    """The last layers that ``register_head`` names for this model's class; empty when there is none.

    Raises:
        ModelError: When the model has no such layer.
    """
    names = _of_class(_heads, model)
    modules = dict(model.named_modules())
    for name in names:
        if not isinstance(modules.get(name), (nn.Linear, nn.Conv1d, nn.Conv2d)):
            kind = type(modules[name]).__name__ if name in modules else "missing"
            raise ModelError(
                f"register_head names {name!r} of {type(model).__name__}, which is {kind}; name linear layers or "
                "convolutions of it."
            )
    return {name: modules[name] for name in names}


def registered_sections(model: nn.Module) -> list[Section]:
    """The groups that ``register_architecture`` names for this model's class; empty when there is none.

    Raises:
        ModelError: When a name fits nothing of the model, or parameters of its body are in none.
    """
    sections: list[Section] = []
    names = list(dict.fromkeys([*(n for n, _ in model.named_modules()), *(n for n, _ in model.named_parameters())]))
    for group in _of_class(_architectures, model):
        patterns = [pattern.strip() for pattern in group.split("|")]
        fitting = [[name for name in names if _fits(name, pattern)] for pattern in patterns]
        if not all(fitting):
            pattern = patterns[[bool(found) for found in fitting].index(False)]
            raise ModelError(f"register_architecture names {pattern!r}, which fits nothing of {type(model).__name__}.")
        if len(patterns) > 1:
            sections.append(Section(group, tuple(name for found in fitting for name in found)))
        else:
            sections += [Section(name, (name,)) for name in fitting[0]]
    return sections


def registrations() -> int:
    """A number that changes when something is registered."""
    return hash((tuple(_heads.items()), tuple(_architectures.items())))


def is_registered(model: nn.Module) -> bool:
    """Whether the groups of this model's class were registered."""
    return bool(_of_class(_architectures, model))


def _of_class(table: dict[type, tuple[str, ...]], model: nn.Module) -> tuple[str, ...]:
    return next((table[kind] for kind in type(model).__mro__ if kind in table), ())


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(fnmatchcase(p, w) for p, w in zip(parts, wanted, strict=True))


def _checked_class(model_class: object, function: str) -> type:
    if not (isinstance(model_class, type) and issubclass(model_class, nn.Module)):
        raise SettingsError(f"{function} takes a class of torch.nn.Module first, not {model_class!r}.")
    return model_class


def _checked_names(names: Sequence[str], function: str) -> tuple[str, ...]:
    if isinstance(names, str) or not names or not all(isinstance(name, str) and name for name in names):
        raise SettingsError(f"{function} takes names of modules, at least one, not {names!r}.")
    return tuple(names)
