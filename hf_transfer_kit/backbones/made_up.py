"""Sizes, channels and settings by which inputs are made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

LENGTH = 8  # tokens
SIDES = (64, 224, 32, 96, 128, 256, 299, 384, 28)
SAMPLES = (4_000, 16_000, 800, 48_000)
PLACE_KINDS = ("image", "video", "audio")  # what has places of its own in a text
FRAMES = (100, 200, 128, 3_000, 1_024)


def channels_of(model: nn.Module) -> int:
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return first.in_channels if first is not None else 3


def picture(channels: int, side: int | tuple[int, int]) -> Tensor:
    height, width = side if isinstance(side, (tuple, list)) else (side, side)
    return torch.linspace(-1, 1, channels * height * width).reshape(1, channels, height, width)


def sides(*owners: Any) -> list[int | tuple[int, int]]:
    """Sizes of pictures to try: those that a network or its config names, then usual ones."""
    named: list[Any] = []
    for owner in owners:
        named += [getattr(owner, attribute, None) for attribute in ("img_size", "image_size")]
        named.append(getattr(getattr(owner, "patch_embed", None), "img_size", None))
        shape = (getattr(owner, "pretrained_cfg", None) or {}).get("input_size")
        named.append(tuple(shape[1:]) if shape else None)
    found: list[Any] = []
    for side in [*named, *SIDES]:
        if isinstance(side, Mapping):
            side = side.get("height", side.get("shortest_edge"))
        side = tuple(side) if isinstance(side, (list, tuple)) else side
        if side and side not in found:
            found.append(side)
    return found


def configs(config: Any) -> list[Any]:
    """A config and those nested in it."""
    inside = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    return [config, *(c for inner in inside if inner is not None for c in configs(inner))]


def setting(config: Any, *names: str, default: Any = None) -> Any:
    for owner in configs(config):
        for name in names:
            value = getattr(owner, name, None)
            if value is not None and not isinstance(value, bool):
                return value
    return default


def token_ids(config: Any, shape: tuple[int, ...] = (1, LENGTH)) -> Tensor:
    """Token ids inside the vocabulary, the end token (where there is one) last, as encoder-decoders' heads want it."""
    vocabulary = int(setting(config, "vocab_size", default=16) or 16)
    named = [setting(config, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id", "mask_token_id")]
    named += [setting(config, f"{kind}_token_{end}") for kind in PLACE_KINDS for end in ("id", "index")]
    special = {i for value in named for i in (value if isinstance(value, (list, tuple)) else [value])}
    usual = [i for i in range(min(vocabulary, 64)) if i not in special] or [0]
    count = int(torch.Size(shape).numel())
    ids = torch.tensor([usual[i % len(usual)] for i in range(count)]).reshape(shape)
    end = setting(config, "eos_token_id")
    end = end[0] if isinstance(end, (list, tuple)) and end else end
    if isinstance(end, int) and 0 <= end < vocabulary:
        ids[..., -1] = end
    return ids
