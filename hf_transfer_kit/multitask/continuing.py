"""A trained model of some tasks goes on with others: every weight that it has is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.configuration import MultiTaskConfig
from hf_transfer_kit.multitask.stems import with_channels

_OWN = re.compile(r"\.of\.([a-z0-9_]+)\.")


def carry_over(
    weights: Mapping[str, Tensor],
    old: MultiTaskConfig,
    state: Mapping[str, Tensor],
    new: MultiTaskConfig,
    *,
    keep_classes: bool = False,
) -> None:
    """Copies the weights of a trained model into another one's, in place, wherever that has a place for them.

    Layers that an input has for itself come from the same input's, else from those that the old one has there; a first
    convolution of another number of channels is made to fit, and an embedding of another size stays fresh. Heads come
    from the task of the same name, where it has the same type and outputs; with ``keep_classes`` also where it has
    further classes behind its old ones, whose weights begin fresh.

    Args:
        weights: State of the trained model, by name.
        old: Its configuration.
        state: State of the other one, whose tensors are written to.
        new: Its configuration, of the same backbone.
        keep_classes: Whether classes of a task stay beside new ones.

    Raises:
        SettingsError: With ``keep_classes``, when the first classes of a task are not those that it had.
    """
    grown = _grown_tasks(old, new) if keep_classes else set()
    first = next(iter(old.inputs))
    kept = {
        name
        for name, task in new.tasks.items()
        if name in old.tasks and all(task[key] == old.tasks[name][key] for key in ("type", "num_labels"))
    }
    with torch.no_grad():
        for name, tensor in state.items():
            part, _, rest = name.partition(".")
            task = rest.partition(".")[0]
            if part == "heads" and task in grown:
                tensor[: len(weights[name])] = weights[name]
                continue
            if part == "heads" and task not in kept:
                continue
            found = _found(name, weights, first)
            if found is not None and (fitting := _fitted(found, tensor)) is not None:
                tensor.copy_(fitting)


def _grown_tasks(old: MultiTaskConfig, new: MultiTaskConfig) -> set[str]:
    """Tasks that have new classes behind those that they had."""
    grown = set()
    for name, task in new.tasks.items():
        had = old.tasks.get(name)
        if had is None or "id2label" not in had:
            continue
        names, theirs = (list(settings.get("id2label", {}).values()) for settings in (task, had))
        if had["type"] != task["type"] or names[: len(theirs)] != theirs:
            raise SettingsError(
                f"The task {name!r} knows the classes {', '.join(theirs)}; to keep them it must be of type "
                f"{had['type']!r} with these classes first, in this order, but its classes are "
                f"{', '.join(names) or 'not named'}."
            )
        if len(names) > len(theirs):
            grown.add(name)
    return grown


def _found(name: str, weights: Mapping[str, Tensor], first: str) -> Tensor | None:
    """The old weight for a new name."""
    own = _OWN.search(name)
    if own is None:
        # What was an input's own may now be shared.
        return weights.get(name, next((w for n, w in weights.items() if _OWN.sub(".", n) == name), None))
    places = (name, _OWN.sub(f".of.{first}.", name, count=1), _OWN.sub(".", name, count=1))
    return next((weights[place] for place in places if place in weights), None)


def _fitted(weight: Tensor, like: Tensor) -> Tensor | None:
    if weight.shape == like.shape:
        return weight
    outer = weight.dim() >= 3 and weight.dim() == like.dim() and weight.shape[0] == like.shape[0]
    if outer and weight.shape[2:] == like.shape[2:]:
        return with_channels(weight, like.shape[1])
    return None
