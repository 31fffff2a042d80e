"""Inputs for transformers' networks, made up from their configs and the names of what they read."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.made_up import (
    FRAMES,
    LENGTH,
    SAMPLES,
    channels_of,
    configs,
    picture,
    setting,
    sides,
    token_ids,
)
from hf_transfer_kit.backbones.multimodal_inputs import with_placeholders


def inputs_of_transformers(model: PreTrainedModel) -> Iterator[dict[str, Tensor]]:
    """Keyword arguments that the network might accept, the likeliest first."""
    names = set(signature(model.forward).parameters)
    config = model.config
    main = getattr(model, "main_input_name", "input_ids")
    shape = (1, 2, LENGTH) if "MultipleChoice" in type(model).__name__ else (1, LENGTH)
    books = getattr(config, "num_codebooks", None)
    if isinstance(books, int) and type(model).__name__.startswith("Musicgen"):
        yield {"input_ids": token_ids(config, (books, LENGTH))}  # its codebooks are rows
    ids = token_ids(config, shape)
    text: dict[str, Tensor] = {}
    if "input_ids" in names:
        text = {"input_ids": ids}
        if "attention_mask" in names:
            text["attention_mask"] = torch.ones_like(ids)
        if "bbox" in names:
            text["bbox"] = torch.zeros(*shape, 4, dtype=torch.long)
    decoder = {"decoder_input_ids": token_ids(config)} if "decoder_input_ids" in names else {}
    others = [candidate for name in names for candidate in [_of_name(name, config)] if candidate]
    if hasattr(model, "timm_model"):
        yield from ({"pixel_values": picture(channels_of(model), side)} for side in sides(model.timm_model))
    seen_inputs = [o for options in others for o in options]
    if main in ("input_ids", "inputs_embeds") or (not seen_inputs and text):
        both = [{**text, **option} for option in seen_inputs if "pixel_values" in option]
        # Two towers want both; a language model that may look at pictures does without.
        first, second = (both, [text]) if _has_two_towers(model) else ([text], both)
        for batch in [*first, *second]:
            yield batch
            if decoder:
                yield {**batch, **decoder}
    if "input_ids" in names:
        yield from with_placeholders(model, others)
    for option in seen_inputs:
        yield option
        if decoder:
            yield {**option, **decoder}
        if text:
            yield {**text, **option}
    try:
        yield dict(model.dummy_inputs)
    except Exception:
        return


def _has_two_towers(model: PreTrainedModel) -> bool:
    return any("vision" in name for name in getattr(model.config, "sub_configs", {}))


def _of_name(name: str, config: Any) -> list[dict[str, Tensor]]:
    """Candidates for one of the inputs by which transformers' networks read something else than tokens."""
    mels = int(setting(config, "num_mel_bins", "feature_size", "input_feat_per_channel", default=80))
    if name in ("pixel_values", "pixel_values_videos"):
        channels = int(setting(config, "num_channels", "in_channels", "in_chans", default=3))
        pictures = [{name: picture(channels, side)} for side in sides(*configs(config))]
        frames = setting(config, "num_frames")
        if frames:
            pictures = [{name: p[name].unsqueeze(1).expand(-1, int(frames), -1, -1, -1)} for p in pictures] + pictures
        return pictures
    if name == "input_values":
        length = setting(config, "max_length")
        waves = [torch.linspace(-1, 1, count).sin().reshape(1, -1) for count in SAMPLES]
        spectra = [torch.ones(1, int(length), mels)] if isinstance(length, int) and length > 20 else []
        ordered = [*spectra, *waves] if hasattr(config, "num_mel_bins") and spectra else [*waves, *spectra]
        return [{name: value} for value in ordered]
    if name == "input_features":
        positions = setting(config, "max_source_positions")
        counts = ([2 * int(positions)] if positions else []) + list(FRAMES)
        flat = [{name: torch.ones(1, mels, n)} for n in counts] + [{name: torch.ones(1, n, mels)} for n in counts]
        return flat + [{name: torch.ones(1, 1, n, mels)} for n in counts]  # CLAP's have an axis of excerpts
    if name == "spatial_shapes":
        return _of_loose_patches(config)
    return []


def _of_loose_patches(config: Any) -> list[dict[str, Tensor]]:
    """A picture as a row of patches with their number in height and width, as SigLIP 2 reads it."""
    patch, channels = (setting(config, *names) for names in (("patch_size",), ("num_channels",)))
    if not isinstance(patch, int) or not isinstance(channels, int):
        return []
    rows = picture(1, (4, channels * patch * patch))[0]
    return [{"pixel_values": rows, "pixel_attention_mask": torch.ones(1, 4), "spatial_shapes": torch.tensor([[2, 2]])}]
