"""Sections of timm networks, from their own ``group_matcher``."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from hf_transfer_kit.backbones.sections import Section


def timm_sections(network: nn.Module, prefix: str) -> list[Section]:
    """Stages of a timm network, input to output.

    timm cuts by parameter name; it counts the norm before the classifier with the classifier, which
    ``assemble`` takes apart again, since the head's modules have the longer name.

    Args:
        network: The timm network.
        prefix: Prefix of its names in the model that holds it.
    """
    from timm.models import group_parameters

    groups = group_parameters(network, cast(Any, network).group_matcher(coarse=True))
    sections = []
    for key in sorted(groups):
        names = groups[key]
        sections.append(Section(_title(names), tuple(f"{prefix}{name}" for name in names)))
    return sections


def _title(names: list[str]) -> str:
    """The common part of the parameters' names, else the modules they start in."""
    split = [name.split(".")[:-1] or [name] for name in names]
    common = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    if common:
        return ".".join(common)
    heads = list(dict.fromkeys(".".join(parts[:2]) if parts[0] == "blocks" else parts[0] for parts in split))
    return ", ".join(heads)
