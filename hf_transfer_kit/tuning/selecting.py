"""Parts of a model by name: globs, regular expressions, depths and names of layer groups."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.values import LayerGroup, LayerGroups

NO_HEAD = (
    "needs a model with a head of its own: give it one with replace_head. Where the output layer shares its weights "
    "with the embeddings, as that of a language model may, there is none: choose layers by depth or by names."
)
"""End of a sentence about what a model without a head cannot do."""


def matching_names(groups: LayerGroups, pattern: str) -> set[str]:
    """Names of the parameters that match a glob, or after ``"re:"`` a regular expression (from their beginning).

    Raises:
        SettingsError: When none matches, or the regular expression cannot be read.
    """
    try:
        test = re.compile(pattern[3:] if pattern.startswith("re:") else fnmatch.translate(pattern))
    except re.error as error:
        raise SettingsError(f"{pattern!r} is no regular expression: {error}.") from error
    found = {name for group in groups for name in group.parameters if test.match(name)}
    if not found:
        known = ", ".join(list(groups[0].parameters)[:3])
        raise SettingsError(
            f"{pattern!r} matches no parameter. Names look like {known}; "
            'use a glob such as "layer1.*", or "re:" and a regular expression.'
        )
    return found


def selected_names(groups: LayerGroups, selector: str | int) -> set[str]:
    """Names of the parameters that a selector means.

    Args:
        groups: Layer groups of the model.
        selector: ``"all"``; ``"head"``; ``"body"`` (all but the head); a depth (0 nearest the input, -1 the last group,
            as indices of ``groups``); the name of a group; or a glob or ``"re:..."`` on parameter names.

    Raises:
        SettingsError: When it means nothing in this model.
    """
    if selector == "all":
        return _names(groups)
    if selector == "body":
        return _names(groups.body)
    if selector == "head":
        if groups.head is None:
            raise SettingsError(f"'head' {NO_HEAD}")
        return _names([groups.head])
    if isinstance(selector, int) and not isinstance(selector, bool):
        if not -len(groups) <= selector < len(groups):
            raise SettingsError(
                f"Depth {selector} is out of range: this model's layer groups are 0 to {len(groups) - 1}."
            )
        return _names([groups[selector]])
    if not isinstance(selector, str):
        raise SettingsError(f"{selector!r} is no part of a model: give a depth, a name, a glob, or all, body or head.")
    named = [group for group in groups if group.name == selector]
    return _names(named) if named else matching_names(groups, selector)


def parts(groups: LayerGroups, names: Collection[str], *, still: Collection[str] = ()) -> list[LayerGroup]:
    """The part of each group whose parameters are named; modules only where nothing else is left to train.

    Args:
        groups: Layer groups of the model.
        names: Names of parameters.
        still: Names of further parameters that do not move: a module is in the part when it has a named parameter
            and no other than named or still ones.
    """
    result = []
    for group in groups:
        parameters = {name: parameter for name, parameter in group.parameters.items() if name in names}
        chosen = {id(parameter) for parameter in parameters.values()}
        spent = chosen | {id(parameter) for name, parameter in group.parameters.items() if name in still}
        modules = {
            f"{name}.{inner_name}".rstrip("."): inner
            for name, module in group.modules.items()
            for inner_name, inner in module.named_modules()
            if (own := {id(parameter) for parameter in inner.parameters()})
            and own <= spent
            and not own.isdisjoint(chosen)
        }
        if chosen and len(spent) == len(group.parameters):
            modules = dict(group.modules)
        result.append(LayerGroup(group.name, modules, parameters, group.is_head))
    return result


def _names(groups: Iterable[LayerGroup]) -> set[str]:
    return {name for group in groups for name in group.parameters}
