"""Sections of transformers models: embeddings, blocks, norm or pooler; encoder, then decoder, where there are both."""

from __future__ import annotations

import re

from torch import nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.heads import find_head
from hf_transfer_kit.backbones.sections import Section

# Parts whose place in the forward pass is not their place in the class: pattern on the name inside the tower ->
# "before" or "after" the blocks, or the index of the block they go with. One line an architecture.
_OUT_OF_PLACE = {
    r"encoder\.rel_embeddings$": "before",  # DeBERTa: computed once, before the first block
    r"encoder\.LayerNorm$": "before",  # DeBERTa: normalises the relative embeddings
    r"encoder\.conv$": 0,  # DeBERTa-v2: runs on the first block's output
}
_AFTER_BLOCKS_IF_STABLE = r"encoder\.layer_norm$"  # Wav2Vec2 and its kin with do_stable_layer_norm


def transformers_sections(model: PreTrainedModel) -> list[Section]:
    """The body's sections, input to output; empty when no list of blocks is found."""
    head = set(find_head(model))
    base = next((name for name, child in model.named_children() if child is model.base_model), "")
    if not base and head and len(towers := [n for n, c in model.named_children() if n not in head]) == 1:
        base = towers[0]  # the body is one child that base_model_prefix does not name, as in Whisper's classifier
    root = model.get_submodule(base)
    towers = [name for name in ("encoder", "decoder") if _blocks(getattr(root, name, None), model.config) is not None]
    if len(towers) < 2:
        sections = _tower_sections(root, model.config, skip=head if not base else set())
    else:
        sections = _encoder_decoder_sections(root, model.config, towers, skip=head if not base else set())
    return [section.prefixed(f"{base}." if base else "") for section in sections]


def _encoder_decoder_sections(root: nn.Module, config, towers: list[str], *, skip: set[str]) -> list[Section]:
    shared = [name for name, _ in root.named_children() if name not in towers and name not in skip]
    shared += [name for name, _ in root.named_parameters(recurse=False)]
    sections = []
    for tower in towers:
        inside = _tower_sections(getattr(root, tower), config, skip=set())
        sections += [Section(f"{tower}.{s.name}", s.prefixed(f"{tower}.").members) for s in inside]
    first = sections[0]
    return [Section(first.name, (*shared, *first.members)), *sections[1:]]


def _tower_sections(root: nn.Module, config, *, skip: set[str]) -> list[Section]:
    """Sections of one stack of blocks with what stands before and after it."""
    found = _blocks(root, config)
    if found is None:
        return []
    stack_name, stack = found
    holder = stack_name.rpartition(".")[0]
    before: list[tuple[str, str]] = []  # (owner: the part of the root it lies in, name)
    after: list[str] = []
    with_block: dict[int, list[str]] = {}
    passed = False
    for name in _atoms(root, stack_name):
        if name in skip:
            continue
        if name == stack_name:
            passed = True
            continue
        place = _place(name, config, passed)
        if isinstance(place, int):
            with_block.setdefault(place, []).append(name)
        elif place == "after":
            after.append(name)
        else:
            beside = name.rpartition(".")[0] == holder
            before.append((holder or "embeddings" if beside else name.split(".")[0], name))
    sections = []
    for owner in dict.fromkeys(owner for owner, _ in before):
        names = tuple(name for o, name in before if o == owner)
        sections.append(Section(names[0] if len(names) == 1 else ", ".join(n.split(".")[-1] for n in names), names))
    sections = _merged_without_parameters(root, sections)
    if any(True for _ in root.named_parameters(recurse=False)):
        direct = tuple(name for name, _ in root.named_parameters(recurse=False))
        where = sections.pop() if sections else Section("embeddings", ())
        sections.append(Section(where.name, (*where.members, *direct)))
    for index, (name, _) in enumerate(stack.named_children()):
        sections.append(Section(f"{stack_name}.{name}", (f"{stack_name}.{name}", *with_block.get(index, ()))))
    if after:
        titles = [name for name in after if any(True for _ in root.get_submodule(name).parameters())]
        sections.append(Section(", ".join(titles), tuple(after)))
    return sections


def _merged_without_parameters(root: nn.Module, sections: list[Section]) -> list[Section]:
    """Sections with the ones that hold no parameter joined to the one before."""
    result: list[Section] = []
    for section in sections:
        empty = not any(True for name in section.members for _ in root.get_submodule(name).parameters())
        if result and empty:
            result[-1] = Section(result[-1].name, (*result[-1].members, *section.members))
        else:
            result.append(section)
    return result


def _place(name: str, config, passed: bool) -> str | int:
    if getattr(config, "do_stable_layer_norm", False) and re.search(_AFTER_BLOCKS_IF_STABLE, name):
        return "after"
    for pattern, place in _OUT_OF_PLACE.items():
        if re.search(pattern, name):
            return place
    return "after" if passed else "before"


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


def _blocks(root: nn.Module | None, config) -> tuple[str, nn.Module] | None:
    """The stack of blocks: an outermost list, of the length the config gives where there is such, with most weights."""
    if root is None:
        return None
    lists = []

    def visit(name: str, module: nn.Module) -> None:
        is_list = isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 0
        if is_list and any(True for _ in module.parameters()):
            lists.append((name, module))
            return
        for child_name, child in module.named_children():
            visit(f"{name}.{child_name}".lstrip("."), child)

    visit("", root)
    counts = {getattr(config, key, None) for key in ("num_hidden_layers", "encoder_layers", "decoder_layers")}
    counts |= {getattr(config, "num_layers", None), getattr(config, "num_decoder_layers", None)}
    depths = getattr(config, "depths", None)
    counts.add(len(depths) if isinstance(depths, (list, tuple)) else None)
    fitting = [entry for entry in lists if len(entry[1]) in counts] or lists
    return max(fitting, key=lambda entry: sum(p.numel() for p in entry[1].parameters()), default=None)
