"""Random rows of the kind that a network reads, to ask it in two ways."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hf_transfer_kit.data.images import image_geometry
from hf_transfer_kit.predicting.saved_models import Reading

_WORDS = (2, 7, 4)
"""Of the first, second and third text, so that shorter ones are padded; more of them in larger batches."""


def trial_batch(reading: Reading, rows: int, *, seed: int) -> dict[str, Tensor]:
    """Random rows as the network is given them: pictures of noise, or texts of random words of the vocabulary.

    Args:
        reading: Of pictures or texts.
        rows: How many.
        seed: Of the noise.

    Returns:
        ``pixel_values`` (B, C, H, W), normalised; or what the tokenizer makes, each (B, T), the texts of different
        lengths.
    """
    draw = torch.Generator().manual_seed(seed)
    inputs = reading.inputs
    if reading.kind == "text":
        return dict(inputs([_text(reading, _WORDS[row % len(_WORDS)] + rows, draw) for row in range(rows)]))
    geometry = image_geometry(inputs.processor, image_size=inputs.sizes.image_size, channels=inputs.sizes.channels)
    pixels = torch.randint(0, 256, (rows, geometry.channels, *geometry.size), dtype=torch.uint8, generator=draw)
    return {"pixel_values": geometry.normalize(pixels)}


def _text(reading: Reading, count: int, draw: torch.Generator) -> Any:
    words = [_word(reading.inputs.processor, draw) for _ in range(count)]
    if reading.words:
        return words
    text = " ".join(words)
    return (text, " ".join(reversed(words))) if len(reading.columns) == 2 else text


def _word(tokenizer: Any, draw: torch.Generator) -> str:
    """A random token in letters; special ones and what is no text give way to a plain word."""
    token = int(torch.randint(len(tokenizer), (), generator=draw))
    word = "" if token in tokenizer.all_special_ids else str(tokenizer.decode([token])).strip()
    return word or "a"
