"""Which parameters are at which depth: the one answer that freezing, rates, caching and penalties all ask for."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.example_inputs import has_inputs, remember_inputs, remembered_inputs, traced
from hf_transfer_kit.backbones.heads import find_head
from hf_transfer_kit.backbones.module_sections import module_sections
from hf_transfer_kit.backbones.ordering import in_order_of_execution, side_by_side
from hf_transfer_kit.backbones.registry import registered_sections, registrations
from hf_transfer_kit.backbones.sections import Section, join_names
from hf_transfer_kit.backbones.shards import has_shards
from hf_transfer_kit.backbones.structure import structure_of
from hf_transfer_kit.backbones.tracing import Trace
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.values import LayerGroup, LayerGroups


@checked_arguments()
def layer_groups(model: nn.Module, *, example_inputs: Mapping[str, Any] | Any | None = None) -> LayerGroups:
    """Groups of layers, input to output, the head last. Changes nothing about the model.

    One forward, with inputs that are made up, tells in which order the parameters are used; libraries tell where to
    cut: timm's networks by their own ``group_matcher``, transformers' at their blocks, also where they lie inside a
    module of one's own, anything else at its containers. Asked again, the answer is remembered.

    Args:
        model: The model, also wrapped by DistributedDataParallel, torch.compile or peft; names are those of this model.
        example_inputs: Where inputs cannot be made up: keyword arguments, a tuple or one tensor for one forward. They
            are remembered for this model, so that callbacks need them no more.

    Returns:
        The groups. Every parameter is in exactly one, tied ones in the earliest; every leaf module lies under exactly
        one group's modules; printing shows a table.

    Raises:
        ModelError: When no forward could be made, or the model is sharded already; says why.

    Example:
        >>> groups = layer_groups(model)
        >>> [group.name for group in groups]
        ['embedder', 'encoder.stages.0', 'encoder.stages.1', 'classifier']
        >>> groups.head.num_parameters
        51
    """
    inner, prefix = plain_model(model)
    if example_inputs is not None:
        remember_inputs(inner, example_inputs)
    structure = hash((structure_of(inner), registrations(), id(remembered_inputs(inner))))
    plan = _plans.get(inner)
    if plan is None or plan.structure != structure:
        _plans[inner] = plan = _planned(inner, structure)
    return _built(model, prefix, plan)


@dataclass(frozen=True)
class _Plan:
    """The answer for one model, in names."""

    structure: int
    groups: tuple[tuple[str, tuple[str, ...], tuple[str, ...], bool], ...]  # title, modules, parameters, head?


_plans: weakref.WeakKeyDictionary[nn.Module, _Plan] = weakref.WeakKeyDictionary()


def _planned(model: nn.Module, structure: int) -> _Plan:
    if not any(True for _ in model.parameters()):
        return _Plan(structure, ())
    if has_shards(model):
        raise ModelError(
            f"{type(model).__name__} is sharded already, and a forward of it no longer tells in which order parameters "
            "are used. Call layer_groups(model) before it is sharded, which is remembered; parts that are given in "
            "Trainer(callbacks=[...]) do so."
        )
    registered = registered_sections(model)
    trace = Trace({}) if registered else _trace_or_order_of_definition(model)
    sections = registered or module_sections(model, trace)
    head = find_head(model)
    if registered:
        _check_whole(model, registered, head)
    titles = [section.name for section in sections] + [", ".join(head)]
    last = len(sections)
    section_of = _assigned(model, sections, head, trace)
    section_of, order = in_order_of_execution(model, section_of, last, trace)
    depths = _without_dead_ends(side_by_side(section_of, order, last, trace), section_of, last, trace)
    rank = {number: index for index, numbers in enumerate(depths) for number in numbers}
    members = {member: index for index, section in enumerate(sections) for member in section.members}
    members |= dict.fromkeys(head, last)
    ranked = {name: rank[number] for name, number in section_of.items()}
    leaves = _leaf_sections(model, ranked, {m: rank[i] for m, i in members.items() if i in rank})
    groups = []
    names_of = {number: {n for n, s in section_of.items() if s == number} for numbers in depths for number in numbers}
    for index, numbers in enumerate(depths):
        own = tuple(name for name, depth in ranked.items() if depth == index)
        if own:
            alive = [number for number in numbers if set(trace.reaching) & names_of[number]] or numbers
            title = " | ".join(titles[number] for number in alive)
            groups.append((title, tuple(_topmost(model, ranked, leaves, index)), own, last in numbers))
    return _Plan(structure, tuple(groups))


def _trace_or_order_of_definition(model: nn.Module) -> Trace:
    """The trace; where there is none, the order that a class of ``nn.Sequential`` or timm's matcher vouches for."""
    try:
        return traced(model)
    except ModelError:
        vouched = isinstance(model, nn.Sequential) or hasattr(model, "group_matcher") or hasattr(model, "timm_model")
        if not vouched or has_inputs(model):
            raise
        return Trace({})


def _without_dead_ends(
    depths: list[tuple[int, ...]], section_of: Mapping[str, int], last: int, trace: Trace
) -> list[tuple[int, ...]]:
    """What enters no output, as a pooler that is computed and not read, goes with what is executed before it.

    Trained alone it would learn nothing.
    """
    alive = {section_of[name] for name in trace.reaching if name in section_of}
    kept: list[tuple[int, ...]] = []
    for numbers in depths:
        if alive and kept and last not in numbers and alive.isdisjoint(numbers):
            kept[-1] += numbers
        else:
            kept.append(numbers)
    return kept


def _check_whole(model: nn.Module, registered: list[Section], head: Mapping[str, nn.Module]) -> None:
    """What was registered must hold every parameter."""
    members = dict.fromkeys([*head, *(member for section in registered for member in section.members)], 0)
    for name, _ in model.named_parameters():
        if _longest_prefix(name, members) is None:
            raise ModelError(
                f"register_architecture names no group of {type(model).__name__} for {name!r}, and it is not of the "
                "head. Name a group for every parameter."
            )


def _assigned(model: nn.Module, sections: list[Section], head: Mapping[str, nn.Module], trace: Trace) -> dict[str, int]:
    """Parameter -> section, by the longest name that fits; the head's are the last number."""
    last = len(sections)
    heads = dict.fromkeys(head, last)
    members = {member: index for index, section in enumerate(sections) for member in section.members}
    result: dict[str, int] = {}
    unclaimed = []
    for name, _ in model.named_parameters():
        index = _longest_prefix(name, heads)
        if index is None:
            index = _longest_prefix(name, members)
        if index is None:
            unclaimed.append(name)
        else:
            result[name] = index
    body_end = max((trace.first_use[n] for n, i in result.items() if i != last and n in trace.first_use), default=-1)
    for name in unclaimed:
        # What the model holds beside its body: of the head where it comes after the body (or is not told), else body.
        use = trace.first_use.get(name, body_end + 1)
        before = [(u, result[n]) for n, u in trace.first_use.items() if n in result and u <= use and result[n] != last]
        result[name] = last if head and use > body_end else (max(before)[1] if before else 0)
    return {name: result[name] for name, _ in model.named_parameters()}


def _built(model: nn.Module, prefix: str, plan: _Plan) -> LayerGroups:
    """The plan's names as modules and parameters of the (wrapped) model."""
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
    groups = []
    for title, module_names, names, is_head in plan.groups:
        own = {f"{prefix}{name}": parameters.pop(f"{prefix}{name}") for name in names}
        groups.append(LayerGroup(title, {f"{prefix}{n}": modules[f"{prefix}{n}"] for n in module_names}, own, is_head))
    if parameters and groups:
        # What a wrapper holds itself, as peft its prompts, enters before the first layer.
        first = groups[0]
        outside = {n: m for n, m in modules.items() if n and not n.startswith(prefix) and _is_top(n, prefix, modules)}
        groups[0] = LayerGroup(
            first.name, {**outside, **first.modules}, {**parameters, **first.parameters}, first.is_head
        )
    return LayerGroups(tuple(groups))


def _is_top(name: str, prefix: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a module beside the wrapped model has no parent beside it."""
    parent = name.rpartition(".")[0]
    return not prefix.startswith(f"{name}.") and (not parent or prefix.startswith(f"{parent}."))


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
    for name, section in section_of.items():
        while name:
            name = name.rpartition(".")[0]
            under.setdefault(name, set()).add(section)
    result: dict[str, int] = {}
    previous = used[0]
    for name, module in model.named_modules(remove_duplicate=True):
        if any(True for _ in module.children()):
            continue
        index: int | None = next(iter(under[name])) if len(under.get(name, ())) == 1 else None
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
            section_of[n] for p, _ in module.named_parameters(recurse=False) if (n := join_names(name, p)) in section_of
        }
        children = [(join_names(name, child_name), child) for child_name, child in module.named_children()]
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
