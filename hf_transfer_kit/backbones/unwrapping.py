"""The plain network inside the wrappers of DistributedDataParallel, peft and transformers' timm classes."""

from __future__ import annotations

from typing import Any

from torch import nn


def plain_model(model: nn.Module) -> tuple[nn.Module, str]:
    """The transformers or plain model inside DistributedDataParallel, torch.compile and peft wrappers.

    Returns:
        The inner model, and the prefix that turns its qualified names into those of ``model`` (``""`` or ``"...."``).
    """
    inner: Any = model
    prefix = ""
    while True:
        if type(inner).__name__ == "OptimizedModule":
            inner, prefix = inner._orig_mod, f"{prefix}_orig_mod."
        elif type(inner).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner, prefix = inner.module, f"{prefix}module."
        elif hasattr(inner, "peft_config") and hasattr(getattr(inner, "base_model", None), "model"):
            inner, prefix = inner.base_model.model, f"{prefix}base_model.model."
        else:
            return inner, prefix


def timm_model(model: nn.Module) -> tuple[nn.Module, str] | None:
    """The timm network that ``model`` is or wraps, with the prefix of its names; None for other models."""
    inner: Any
    inner, prefix = plain_model(model)
    if hasattr(inner, "timm_model"):
        return inner.timm_model, f"{prefix}timm_model."
    if hasattr(inner, "pretrained_cfg") and hasattr(inner, "get_classifier"):
        return inner, prefix
    return None
