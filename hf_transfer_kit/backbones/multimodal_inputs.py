"""Inputs for networks that put what they see or hear in the places of special tokens of a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.made_up import configs, picture, setting, token_ids
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode

_KINDS = ("image", "audio")
_WORDS = 4  # on either side of the places

Option = dict[str, Tensor]


def with_placeholders(model: PreTrainedModel, others: Sequence[Sequence[Option]]) -> Iterator[Option]:
    """A text with as many places as the network makes features of a picture, or of a sound, and that picture or sound.

    Args:
        model: The network; one without ``get_image_features`` and ``get_audio_features``, or whose config names no
            token for the places, yields nothing.
        others: For each of its inputs, the candidates that are known without this.
    """
    known = signature(model.forward).parameters
    for kind in _KINDS:
        token = setting(model.config, f"{kind}_token_id", f"{kind}_token_index")
        method = getattr(model, f"get_{kind}_features", None)
        if not isinstance(token, int) or method is None:
            continue
        accepted = signature(method).parameters
        given = [option for options in others for option in options if set(option) <= set(accepted)]
        for option in [*_of_patches(model, accepted), *_with_company(given, accepted)]:
            count = _count(model, method, {name: value for name, value in option.items() if name in accepted})
            if not count:
                continue
            words = token_ids(model.config, (2 * _WORDS,))
            ids = torch.cat([words[:_WORDS], torch.full((count,), token), words[_WORDS:]]).unsqueeze(0)
            batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **option}
            if "mm_token_type_ids" in known:
                batch["mm_token_type_ids"] = ids.eq(token).long()
            yield {name: value for name, value in batch.items() if name in known}
            break


def _with_company(given: Sequence[Option], accepted: Mapping[str, Any]) -> Iterator[Option]:
    """Candidates with what some networks want beside them: sizes, masks, an axis of several pictures."""
    for option in given:
        (name, value) = next(iter(option.items()))
        if name == "pixel_values" and value.dim() == 4:
            size = torch.tensor([value.shape[-2:]])
            if "image_sizes" in accepted:
                yield {name: value, "image_sizes": size}
                for count in (3, 5):
                    yield {name: value.unsqueeze(1).expand(-1, count, -1, -1, -1), "image_sizes": size}
            yield option
            yield {name: value.unsqueeze(1)}
            continue
        masks = [mask for mask in accepted if mask.endswith("mask") and mask != "attention_mask"]
        if name == "input_features" and masks:
            yield {name: value, masks[0]: torch.ones(1, value.shape[-1], dtype=torch.long)}
            yield {name: value, masks[0]: torch.ones(1, value.shape[1], dtype=torch.long)}
        yield option


def _of_patches(model: PreTrainedModel, accepted: Mapping[str, Any]) -> Iterator[Option]:
    """Networks of the kind of Qwen2-VL read patches of pictures of any shape, and a table of their numbers."""
    if "image_grid_thw" not in accepted:
        return
    for config in configs(model.config):
        patch = getattr(config, "patch_size", None)
        if not isinstance(patch, int):
            continue
        merged = getattr(config, "spatial_merge_size", None) or 2
        channels = next((c for n in ("in_channels", "num_channels", "in_chans") if (c := getattr(config, n, None))), 3)
        grid = torch.tensor([[1, 2 * merged, 2 * merged]])
        for times in dict.fromkeys((getattr(config, "temporal_patch_size", None) or 1, 1)):
            flat = picture(1, (int(grid.prod()), channels * times * patch * patch))[0, 0]
            yield {"pixel_values": flat, "image_grid_thw": grid}
            if times == 1:
                yield {"pixel_values": flat.reshape(-1, channels, patch, patch), "image_grid_thw": grid}


def _count(model: PreTrainedModel, method: Any, option: Option) -> int:
    """How many features the network makes of these inputs; 0 where it makes none."""
    first = next(p for p in model.parameters() if p.is_floating_point())
    placed = {
        name: value.to(first.device, first.dtype if value.is_floating_point() else value.dtype)
        for name, value in option.items()
    }
    try:
        with seeded_eval_mode(model, seed=0), torch.no_grad():
            return _rows(method(**placed))
    except Exception:
        return 0


def _rows(features: Any) -> int:
    if isinstance(features, Tensor):
        return features.numel() // features.shape[-1]
    if isinstance(features, Mapping):
        values = [features.get(name) for name in ("pooler_output", "last_hidden_state")]
        features = next(value for value in values if value is not None)
        return _rows(features)
    return sum(_rows(part) for part in features)
