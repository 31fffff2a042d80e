"""A section: a named stretch of a network before its parameters and modules are collected."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Section:
    """A stretch of the network.

    Args:
        name: For people.
        members: Qualified names of modules or parameters; the longest name that fits decides where a parameter goes.
    """

    name: str
    members: tuple[str, ...]

    def prefixed(self, prefix: str) -> Section:
        """The same section seen from a model that holds this one under ``prefix`` (``""`` or ending in a dot)."""
        return Section(
            self.name, tuple(f"{prefix}{member}" if member else prefix.rstrip(".") for member in self.members)
        )


# Children that are heads in transformers classes whose body is not one child named by base_model_prefix.
_HEAD_NAMES = ("classifier", "pre_classifier", "score", "projector", "lm_head", "proj_out", "qa_outputs", "cls")


def outside_base(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Direct children of a transformers model that are none of its base model."""
    base = model.base_model
    if base is model:
        return {name: child for name, child in model.named_children() if name in _HEAD_NAMES}
    return {name: child for name, child in model.named_children() if child is not base}


def is_network(module: nn.Module) -> bool:
    """Whether transformers or timm says how this module is cut."""
    return isinstance(module, PreTrainedModel) or hasattr(module, "group_matcher")


def join_names(*parts: str) -> str:
    """A qualified name from its parts, empty ones left out."""
    return ".".join(part for part in parts if part)
