"""Sections of transformers models: embeddings, blocks, norm or pooler; encoder, then decoder, where there are both."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.sections import Section, join_names, outside_base
from hf_transfer_kit.backbones.tracing import Trace

# Where configs keep how many blocks there are.
_LENGTHS = ("num_hidden_layers", "depth", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers")
# Children of a body that are networks of their own: the towers of encoder-decoders and of two kinds of input.
_TOWERS = re.compile(r"encoder$|decoder$|_model$|_tower$|_encoder_.*|visual$")


def transformers_sections(model: PreTrainedModel, trace: Trace) -> list[Section]:
    """The body's sections, input to output; empty when no list of blocks is found.

    A list of blocks says where to cut; what stands around it takes its place by when it is executed.
    """
    head = set(outside_base(model))
    base = next((name for name, child in model.named_children() if child is model.base_model), "")
    if not base and head and len(towers := [n for n, c in model.named_children() if n not in head]) == 1:
        base = towers[0]  # the body is one child that base_model_prefix does not name, as in Whisper's classifier
    body = model.get_submodule(base)
    # Of what it holds: a model of the kit around a network counts no layers.
    found = _body_sections(body, base, _config_of(body, model.config), trace, skip=head if not base else set())
    return [section.prefixed(f"{base}." if base else "") for section in found]


def _body_sections(root: nn.Module, path: str, config: Any, trace: Trace, *, skip: set[str]) -> list[Section]:
    towers = [
        name
        for name, child in root.named_children()
        if name not in skip
        and (_TOWERS.search(name) or isinstance(child, PreTrainedModel))
        and _blocks(child, _config_of(child, config)) is not None
    ]
    if len(towers) < 2:
        return _stack_sections(root, path, config, trace, skip=skip)
    uses = {name: _uses(join_names(path, name), trace) for name in towers}
    towers = sorted(towers, key=lambda name: min(uses[name], default=float("inf")))
    sections = []
    for tower in towers:
        child = getattr(root, tower)
        inside = _body_sections(child, join_names(path, tower), _config_of(child, config), trace, skip=set())
        sections += [Section(f"{tower}.{s.name}", s.prefixed(f"{tower}.").members) for s in inside]
    shared = [name for name, _ in root.named_children() if name not in towers and name not in skip]
    shared += [name for name, _ in root.named_parameters(recurse=False)]
    for name in shared:
        _insert(sections, name, path, trace)
    return sections


def _config_of(module: nn.Module, config: Any) -> Any:
    return getattr(module, "config", None) or config


def _insert(sections: list[Section], name: str, path: str, trace: Trace) -> None:
    """Puts what stands beside towers to the section that is executed before it; what comes first, to the first."""
    use = min(_uses(join_names(path, name), trace), default=-1)
    starts = [
        min((u for member in s.members for u in _uses(join_names(path, member), trace)), default=float("inf"))
        for s in sections
    ]
    last_start = max((start for start in starts if start != float("inf")), default=-1)
    ends = max((u for s in sections for m in s.members for u in _uses(join_names(path, m), trace)), default=-1)
    if use > ends and use > last_start:
        sections.append(Section(name, (name,)))
        return
    index = max((i for i, start in enumerate(starts) if start <= use), default=0)
    sections[index] = Section(sections[index].name, (*sections[index].members, name))


def _stack_sections(root: nn.Module, path: str, config: Any, trace: Trace, *, skip: set[str]) -> list[Section]:
    """Sections of one stack of blocks with what stands before, between and after them."""
    found = _blocks(root, config)
    if found is None:
        return []
    stack_name, stack = found
    holder = stack_name.rpartition(".")[0]
    parallel = _parallel_lists(root, path, stack_name, trace)
    blocks = [tuple(f"{one}.{name}" for one in parallel) for name, _ in stack.named_children()]
    uses = [[use for name in block for use in _uses(join_names(path, name), trace)] for block in blocks]
    starts = [min(block, default=None) for block in uses]
    end = max((use for block in uses for use in block), default=None)
    before: list[tuple[str, str]] = []  # (owner: the part of the root it lies in, name)
    after: list[str] = []
    with_block: dict[int, list[str]] = {}
    passed = False

    def place(name: str) -> None:
        own = _uses(join_names(path, name), trace)
        if not own or end is None:
            places = {len(blocks) if passed else -1}
        else:
            places = {_place(use, starts, end) for use in (min(own), max(own))}
        inside = _members(root, name) if len(places) > 1 else []
        if inside:
            for member in inside:
                place(member)
            return
        index = min(places)
        if index < 0:
            beside = name.rpartition(".")[0] == holder
            before.append((holder or "embeddings" if beside else name.split(".")[0], name))
        elif index >= len(blocks):
            after.append(name)
        else:
            with_block.setdefault(index, []).append(name)

    for name in _atoms(root, stack_name):
        if name == stack_name:
            passed = True
        elif name not in skip and name not in parallel:
            place(name)
    sections = []
    for owner in dict.fromkeys(owner for owner, _ in before):
        names = tuple(name for o, name in before if o == owner)
        sections.append(Section(names[0] if len(names) == 1 else ", ".join(n.split(".")[-1] for n in names), names))
    sections = _merged_without_parameters(root, sections)
    if any(True for _ in root.named_parameters(recurse=False)):
        direct = tuple(name for name, _ in root.named_parameters(recurse=False))
        where = sections.pop() if sections else Section("embeddings", ())
        sections.append(Section(where.name, (*where.members, *direct)))
    for index, block in enumerate(blocks):
        sections.append(Section(block[0], (*block, *with_block.get(index, ()))))
    if after:
        titles = [name for name in after if any(True for _ in _parameters(root, name))]
        sections.append(Section(", ".join(titles), tuple(after)))
    return sections


def _parallel_lists(root: nn.Module, path: str, stack_name: str, trace: Trace) -> list[str]:
    """The stack, and the lists beside it whose i-th members are executed between its i-th and its next member's end."""
    stack = cast(nn.ModuleList | nn.Sequential, root.get_submodule(stack_name))
    holder, _, own_name = stack_name.rpartition(".")
    found = [stack_name]
    for name, child in root.get_submodule(holder).named_children():
        beside = join_names(holder, name)
        if name == own_name or type(child) is not nn.ModuleList or len(child) != len(stack):
            continue
        together = [*found, beside]
        spans = [
            [use for one in together for use in _uses(join_names(path, one, index), trace)]
            for index, _ in stack.named_children()
        ]
        if all(spans) and all(max(a) < min(b) for a, b in pairwise(spans)):
            found = together
    return found


def _place(use: int, starts: list[int | None], end: int) -> int:
    """-1 before the first block, the index of the block that had begun last, their number after all of them."""
    if use > end:
        return len(starts)
    return max((index for index, start in enumerate(starts) if start is not None and start <= use), default=-1)


def _uses(name: str, trace: Trace) -> list[int]:
    """When the parameters under a qualified name were first used."""
    return [use for parameter, use in trace.first_use.items() if parameter == name or parameter.startswith(f"{name}.")]


def _members(root: nn.Module, name: str) -> list[str]:
    """What a module of qualified name ``name`` holds: children, and parameters of its own."""
    module = dict(root.named_modules()).get(name)
    if module is None:
        return []
    own = [n for n, _ in module.named_parameters(recurse=False)]
    return [f"{name}.{inner}" for inner in [*(n for n, _ in module.named_children()), *own]]


def _parameters(root: nn.Module, name: str) -> list[nn.Parameter]:
    found = dict(root.named_modules()).get(name)
    return list(found.parameters()) if found is not None else [root.get_parameter(name)]


def _merged_without_parameters(root: nn.Module, sections: list[Section]) -> list[Section]:
    """Sections with the ones that hold no parameter joined to the one before."""
    result: list[Section] = []
    for section in sections:
        empty = not any(True for name in section.members for _ in _parameters(root, name))
        if result and empty:
            result[-1] = Section(result[-1].name, (*result[-1].members, *section.members))
        else:
            result.append(section)
    return result


def _atoms(root: nn.Module, stack_name: str) -> list[str]:
    """Children of the root in order of definition, the path to the stack opened up."""
    names = []

    def visit(prefix: str, module: nn.Module) -> None:
        for child_name, child in module.named_children():
            name = f"{prefix}{child_name}"
            if name == stack_name or not stack_name.startswith(f"{name}."):
                names.append(name)
            else:
                visit(f"{name}.", child)

    visit("", root)
    return names


def _blocks(root: nn.Module | None, config: Any) -> tuple[str, nn.Module] | None:
    """The stack of blocks: an outermost list, of the length the config gives where there is such, with most weights."""
    if root is None:
        return None
    lists: list[tuple[str, nn.ModuleList | nn.Sequential]] = []

    def visit(name: str, module: nn.Module) -> None:
        if (
            isinstance(module, (nn.ModuleList, nn.Sequential))
            and len(module)
            and any(True for _ in module.parameters())
        ):
            lists.append((name, module))
            return
        for child_name, child in module.named_children():
            visit(f"{name}.{child_name}".lstrip("."), child)

    visit("", root)
    named = [getattr(config, key, None) for key in _LENGTHS]
    depths = getattr(config, "depths", None)
    named.append(len(depths) if isinstance(depths, (list, tuple)) else None)
    counts = {count for count in named if isinstance(count, int)}
    fitting = [entry for entry in lists if len(entry[1]) in counts] or lists
    return max(fitting, key=lambda entry: sum(p.numel() for p in entry[1].parameters()), default=None)
