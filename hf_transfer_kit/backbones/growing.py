"""More classes for a head that has learned some: the old ones stay as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.adapters import outermost
from hf_transfer_kit.backbones.heads import last_layers
from hf_transfer_kit.backbones.new_heads import MOST_CLASSES, replace_head
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import ModelError, SettingsError

_NO_NAME = re.compile(r"LABEL_\d+")


@checked_arguments(own_words_first=True)
def extend_head(model: nn.Module, new_classes: Sequence[str] | int, *, seed: int | None = None) -> nn.Module:
    """Adds classes to the last layers, behind those that are there; weights of old classes stay bit-identical.

    Works in place. Logits of old classes are what they were; new ones begin with the model's own initialisation.

    Args:
        model: A classifier of transformers or timm, or a module ending in a Linear.
        new_classes: Names of the new classes, or how many where the model names none.
        seed: Seed of the new weights, without touching the global random state; None draws from it.

    Returns:
        The model, its config with all classes.

    Raises:
        SettingsError: When there is no new class, or a name is there already or given twice.
        ModelError: When the model has no head, when its outputs are not one a class, or when peft has put an adapter in
            the head's place; it is as before then.

    Example:
        >>> extended = extend_head(model, ["fox", "lynx"], seed=0)
        >>> extended.config.num_labels, extended.config.id2label[4]
        (5, 'lynx')
    """
    inner, _ = plain_model(model)
    layers = last_layers(inner)
    if not layers:
        raise ModelError(f"{type(inner).__name__} has no head that could be extended.")
    old = _old_names(inner, layers)
    added = _new_names(new_classes, old)
    for name, layer in layers.items():
        if outermost(inner, name) != name:
            raise ModelError(
                f"peft has put an adapter in the place of {outermost(inner, name)!r}. Merge it first: "
                "model.merge_and_unload()."
            )
        if len(cast(Tensor, layer.weight)) != len(old):
            outputs = len(cast(Tensor, layer.weight))
            raise ModelError(
                f"{name!r} of {type(inner).__name__} has {outputs} outputs for {len(old)} classes, so which "
                "of them a new class would stand behind is not known. Use replace_head."
            )
    kept = {
        name: {key: value.detach().clone() for key, value in layer.state_dict().items()}
        for name, layer in layers.items()
    }
    asks = {name: [parameter.requires_grad for parameter in layer.parameters()] for name, layer in layers.items()}
    replace_head(model, id2label=dict(enumerate([*old, *added])), seed=seed)
    with torch.no_grad():
        for name, values in kept.items():
            layer = inner.get_submodule(name)
            for key, value in values.items():
                getattr(layer, key)[: len(old)] = value
            for parameter, asked in zip(layer.parameters(), asks[name], strict=True):
                parameter.requires_grad_(asked)
    return model


def known_classes(model: nn.Module) -> tuple[str, ...]:
    """Names of the classes that a trained classifier knows, in the order of its logits.

    Raises:
        ModelError: When its config has none, or numbers in their place (LABEL_0, ...): by them alone a class of new
            data cannot be told from one that is known.

    Example:
        >>> known_classes(replace_head(model, id2label={0: "cat", 1: "dog"}))
        ('cat', 'dog')
    """
    inner, _ = plain_model(model)
    names = getattr(getattr(inner, "config", None), "id2label", None) or {}
    known = tuple(names[index] for index in sorted(names))
    if not known or any(_NO_NAME.fullmatch(str(name)) for name in known):
        found = ", ".join(map(str, known[:3])) or "none"
        raise ModelError(
            f"{type(inner).__name__} has no names of its classes ({found}), so which classes of the data it knows "
            "cannot be told. Write them into its config as id2label and label2id, and save it."
        )
    if len(set(known)) < len(known):
        twice = next(name for name in known if known.count(name) > 1)
        raise ModelError(
            f"{type(inner).__name__} has two classes called {twice!r}, so which of them a row of that name shows "
            "cannot be told. Rename one in its config (id2label, label2id)."
        )
    return known


def _old_names(model: nn.Module, layers: dict[str, nn.Module]) -> list[str]:
    names = getattr(getattr(model, "config", None), "id2label", None)
    if names:
        return [names[index] for index in range(len(names))]
    return [f"LABEL_{index}" for index in range(len(cast(Tensor, next(iter(layers.values())).weight)))]


def _new_names(new: Sequence[str] | int, old: Sequence[str]) -> list[str]:
    given = new
    if isinstance(new, int):
        if new > MOST_CLASSES:
            raise SettingsError(f"new_classes={new}: give the number of new classes, at most {MOST_CLASSES:,}.")
        new = [] if isinstance(new, bool) else [f"LABEL_{len(old) + index}" for index in range(new)]
    if isinstance(new, str) or not new or len(set(new)) < len(new):
        raise SettingsError(f"new_classes={given!r}: give a list of names, at least one and none twice, or a number.")
    if not all(isinstance(name, str) and name.strip() for name in new):
        raise SettingsError(f"new_classes={given!r}: a class without a name; give each its own.")
    if there := [name for name in new if name in old]:
        raise SettingsError(f"The model has the class {', '.join(map(repr, there))} already; name new ones only.")
    return list(map(str, new))
