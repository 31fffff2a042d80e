"""What kind of input a model reads."""

from __future__ import annotations

from torch import nn

from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import ModelError

_MODALITY_OF_INPUT = {
    "pixel_values": "image",
    "input_ids": "text",
    "input_values": "audio",
    "input_features": "audio",
}


def modality_of(model: nn.Module) -> str:
    """``"image"``, ``"text"`` or ``"audio"``, from the name of the model's main input.

    Raises:
        ModelError: When the model does not say what it reads.

    Example:
        >>> modality_of(model), modality_of(text_model)
        ('image', 'text')
    """
    inner, _ = plain_model(model)
    if hasattr(inner, "pretrained_cfg"):
        return "image"
    name = getattr(inner, "main_input_name", None)
    if name not in _MODALITY_OF_INPUT:
        raise ModelError(
            f"{type(inner).__name__} does not say what it reads: its main_input_name is {name!r}, known are "
            f"{', '.join(_MODALITY_OF_INPUT)}. Name the modality where you asked for it."
        )
    return _MODALITY_OF_INPUT[name]
