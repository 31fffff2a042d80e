"""Which parameters are at which depth: the one answer that freezing, rates, caching and penalties all ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.heads import find_head
from hf_transfer_kit.backbones.sections import Section
from hf_transfer_kit.backbones.timm_sections import timm_sections
from hf_transfer_kit.backbones.tracing import traced_sections
from hf_transfer_kit.backbones.transformers_sections import transformers_sections
from hf_transfer_kit.backbones.unwrapping import plain_model, timm_model
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.values import LayerGroup, LayerGroups


def layer_groups(model: nn.Module, *, example_inputs: Mapping[str, Any] | Any | None = None) -> LayerGroups:
    """Groups of layers, input to output, the head last. Changes nothing about the model.

    timm networks are cut where their own ``group_matcher`` cuts them, transformers models into embeddings, blocks,
    norm or pooler, and head (encoder, then decoder, where there are both), ``nn.Sequential`` into its children. Any
    other module is cut into its top-level children in the order in which one forward executes them.

    Args:
        model: The model, also wrapped by DistributedDataParallel, torch.compile or peft; names are those of this model.
        example_inputs: Only for modules of unknown architecture: keyword arguments (or one tensor) for one forward.

    Returns:
        The groups. Every parameter is in exactly one, tied ones in the earliest; every leaf module lies under exactly
        one group's modules; printing shows a table.

    Raises:
        ModelError: When the order cannot be told; the module that stands in the way is named.
    """
    inner, prefix = plain_model(model)
    if (timm := timm_model(model)) is not None and hasattr(timm[0], "group_matcher"):
        sections = timm_sections(*timm)
    elif isinstance(inner, PreTrainedModel) and (found := transformers_sections(inner)):
        sections = [section.prefixed(prefix) for section in found]
    else:
        sections = [section.prefixed(prefix) for section in traced_sections(inner, example_inputs)]
    return assemble(model, sections, head=find_head(model), head_owner=prefix)


def assemble(
    model: nn.Module, sections: list[Section], *, head: Mapping[str, nn.Module], head_owner: str = ""
) -> LayerGroups:
    """Turns named sections into layer groups: each parameter and each leaf module gets exactly one.

    Args:
        model: The model all names refer to.
        sections: The body, input to output. A member is the qualified name of a module or a parameter.
        head: Modules of the head, by qualified name.
        head_owner: Prefix of the model the head sits in: parameters it holds directly, and that no section claims,
            belong to the head.

    Raises:
        ModelError: When a parameter belongs to no section.
    """
    parameters = dict(model.named_parameters())
    last = len(sections)
    heads = dict.fromkeys(head, last)
    members = {member: index for index, section in enumerate(sections) for member in section.members}
    section_of: dict[str, int] = {}
    for name in parameters:
        index = _longest_prefix(name, heads)
        if index is None:
            index = _longest_prefix(name, members)
        if index is None and head and name.removeprefix(head_owner).count(".") == 0:
            index = last
        if index is None:
            raise ModelError(
                f"Layer groups of {type(model).__name__}: the depth of {name!r} cannot be told, because its module "
                f"{name.rpartition('.')[0]!r} is none of the known parts. Give example_inputs, or register the part."
            )
        section_of[name] = index
    module_sections = _leaf_sections(model, section_of, {**members, **heads})
    names = [section.name for section in sections] + ["head"]
    groups = []
    for index, name in enumerate(names):
        own = {n: parameters[n] for n in parameters if section_of[n] == index}
        if own:
            modules = _topmost(model, section_of, module_sections, index)
            title = ", ".join(part.removeprefix(head_owner) for part in head) if index == last else name
            groups.append(LayerGroup(title, modules, own, is_head=index == last))
    return LayerGroups(tuple(groups))


def _longest_prefix(name: str, members: Mapping[str, int]) -> int | None:
    while name:
        if name in members:
            return members[name]
        name = name.rpartition(".")[0]
    return members.get("")


def _leaf_sections(model: nn.Module, section_of: Mapping[str, int], members: Mapping[str, int]) -> dict[str, int]:
    """Leaf module -> section. One without parameters goes with what surrounds it, else with what comes before it.

    Sections that will have no parameter (a tied language-model head) hand their leaves to the section before.
    """
    used = sorted(set(section_of.values()))
    under: dict[str, set[int]] = {}
    for name, index in section_of.items():
        while name:
            name = name.rpartition(".")[0]
            under.setdefault(name, set()).add(index)
    result: dict[str, int] = {}
    previous = used[0]
    for name, module in model.named_modules(remove_duplicate=True):
        if any(True for _ in module.children()):
            continue
        index = next(iter(under[name])) if len(under.get(name, ())) == 1 else None
        if index is None:
            index = _surrounding(name, under)
        if index is None:
            index = _longest_prefix(name, members)
        if index not in used:
            index = previous
        result[name] = previous = index
    return result


def _surrounding(name: str, under: Mapping[str, set[int]]) -> int | None:
    while name:
        name = name.rpartition(".")[0]
        if name in under:
            return next(iter(under[name])) if len(under[name]) == 1 and name else None
    return None


def _topmost(
    model: nn.Module, section_of: Mapping[str, int], module_sections: Mapping[str, int], index: int
) -> dict[str, nn.Module]:
    """The topmost modules all of whose leaves and parameters are in section ``index``."""
    result: dict[str, nn.Module] = {}

    def visit(name: str, module: nn.Module) -> set[int]:
        found = {
            section_of[n] for p, _ in module.named_parameters(recurse=False) if (n := _join(name, p)) in section_of
        }
        children = [(_join(name, child_name), child) for child_name, child in module.named_children()]
        if not children and name in module_sections:
            found.add(module_sections[name])
        inside = [(child_name, child, visit(child_name, child)) for child_name, child in children]
        for _, _, sections in inside:
            found |= sections
        if found != {index} or not name:
            result.update({n: child for n, child, sections in inside if sections == {index}})
        return found

    visit("", model)
    order = {name: position for position, (name, _) in enumerate(model.named_modules())}
    return dict(sorted(result.items(), key=lambda item: order.get(item[0], len(order))))


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)
