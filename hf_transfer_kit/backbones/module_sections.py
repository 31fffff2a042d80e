"""Sections of any module: known networks inside are cut as they are alone, what is around them by its containers."""

from __future__ import annotations

from contextlib import suppress

from torch import nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.registry import is_registered, registered_sections
from hf_transfer_kit.backbones.sections import Section, is_network
from hf_transfer_kit.backbones.timm_sections import timm_sections
from hf_transfer_kit.backbones.tracing import Trace
from hf_transfer_kit.backbones.transformers_sections import transformers_sections
from hf_transfer_kit.backbones.unwrapping import timm_model

# A part with more than this share of all weights is looked into.
_LARGE = 0.5


def module_sections(model: nn.Module, trace: Trace) -> list[Section]:
    """Stretches of a network, input to output as far as known; whoever orders them has the trace.

    Args:
        model: Any module, not wrapped for several processes or by peft.
        trace: One forward of it.
    """
    return _sections(model, "", trace, total=max(1, _count(model)), level=0)


def _sections(module: nn.Module, path: str, trace: Trace, *, total: int, level: int) -> list[Section]:
    prefix = f"{path}." if path else ""
    if registered := registered_sections(module):
        return [section.prefixed(prefix) for section in registered]
    if (timm := timm_model(module)) is not None and hasattr(timm[0], "group_matcher"):
        # Some networks' matchers have no coarse cuts.
        with suppress(AssertionError, NotImplementedError):
            return timm_sections(timm[0], f"{prefix}{timm[1]}")
    if isinstance(module, PreTrainedModel) and (found := transformers_sections(module, _seen_from(trace, prefix))):
        return [section.prefixed(prefix) for section in found]
    sections: list[Section] = []
    for name, child in module.named_children():
        if not _count(child):
            continue
        if _is_opened(child, total, level):
            sections += _sections(child, f"{prefix}{name}", trace, total=total, level=level + 1)
        else:
            sections.append(Section(f"{prefix}{name}", (f"{prefix}{name}",)))
    direct = [f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False)]
    return _with_direct(sections, direct, trace) if direct else sections


def _is_opened(child: nn.Module, total: int, level: int) -> bool:
    if any(is_network(inner) or is_registered(inner) for inner in child.modules()):
        return True
    parts = [inner for inner in child.children() if _count(inner)]
    if not parts:
        return False
    listed = type(child) in (nn.Sequential, nn.ModuleList)
    if listed and len(parts) > 1 and (level == 0 or any(_count(p) and any(True for _ in p.children()) for p in parts)):
        return True
    return _count(child) > _LARGE * total


def _with_direct(sections: list[Section], direct: list[str], trace: Trace) -> list[Section]:
    """Parameters that a module holds itself go with the part that is executed before them, the first with the first."""
    if not sections:
        return [Section(name, (name,)) for name in direct]
    starts = [min((trace.first_use[n] for n in _under(s, trace)), default=-1) for s in sections]
    for name in direct:
        use = trace.first_use.get(name, -1)
        before = [(start, index) for index, start in enumerate(starts) if 0 <= start <= use]
        index = max(before)[1] if before else starts.index(min(starts))
        sections[index] = Section(sections[index].name, (*sections[index].members, name))
    return sections


def _under(section: Section, trace: Trace) -> list[str]:
    return [n for n in trace.first_use if any(n == m or n.startswith(f"{m}.") for m in section.members)]


def _seen_from(trace: Trace, prefix: str) -> Trace:
    """The trace as the module under ``prefix`` would name it."""
    if not prefix:
        return trace
    own = {n.removeprefix(prefix): use for n, use in trace.first_use.items() if n.startswith(prefix)}
    return Trace(own)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
