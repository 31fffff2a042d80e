"""Networks with a tower for images or sounds and one for texts, whose features share one space: CLIP and its kin.

What a network offers decides, not its name: ``get_text_features``, ``get_image_features`` or ``get_audio_features``,
and a learned scale of their cosines.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from transformers import MODEL_MAPPING, PreTrainedConfig, PreTrainedModel

from hf_transfer_kit.errors import ModelError


def joint_modality(config: PreTrainedConfig) -> str | None:
    """``"image"`` or ``"audio"`` for networks that put that and texts into one space; None for all others.

    Example:
        >>> joint_modality(towers.model.config), joint_modality(model.config)
        ('image', None)
    """
    if type(config) not in MODEL_MAPPING:
        return None
    try:
        known = MODEL_MAPPING[type(config)]
        kinds = known if isinstance(known, (list, tuple)) else (known,)
        for reads in ("image", "audio"):
            if any(all(hasattr(kind, f"get_{what}_features") for what in ("text", reads)) for kind in kinds):
                return reads
    except (ImportError, ValueError):
        pass  # a class that is not there, or whose libraries are not, says so at any question
    return None


def joint_reads(config: PreTrainedConfig, name: str) -> str:
    """What the tower beside that for texts reads.

    Raises:
        ModelError: When the architecture has no such two towers.
    """
    reads = joint_modality(config)
    if reads is None:
        raise ModelError(
            f"{name} is a {config.model_type!r} model, which has no text tower beside one for images or sounds: "
            "transformers gives it no get_text_features with get_image_features or get_audio_features. Choose a "
            "network of the kind of CLIP, SigLIP, ALIGN or CLAP."
        )
    return reads


def joint_scale(model: PreTrainedModel, reads: str) -> float:
    """The learned factor on cosines, by ``logit_scale`` (CLAP has one a side) or ``temperature`` (ALIGN).

    Raises:
        ModelError: When the network has neither: its features were not taught to share a space by their cosines.
    """
    for name in ("logit_scale", f"logit_scale_{reads[0]}"):
        if isinstance(value := getattr(model, name, None), nn.Parameter) and value.numel() == 1:
            return math.exp(min(value.item(), getattr(model, "max_log_logit_scale", math.inf)))
    if isinstance(value := getattr(model, "temperature", None), nn.Parameter) and value.numel() == 1:
        return 1 / value.item()
    raise ModelError(
        f"{type(model).__name__} has features of texts, but neither logit_scale nor temperature: they were not taught "
        f"to be near those of {reads}s by their cosine, so class names cannot be compared with them."
    )


def side_features(model: PreTrainedModel, what: str, **inputs: Tensor) -> Tensor:
    """What a tower gives, in the space of both, of length 1, (B, D).

    Args:
        model: The network.
        what: ``"text"``, ``"image"`` or ``"audio"``.
        **inputs: What the tower reads.

    Raises:
        ModelError: When it gives no row of features for each input.
    """
    output = getattr(model, f"get_{what}_features")(**inputs)
    features = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
    if not isinstance(features, Tensor) or features.dim() != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else None
        raise ModelError(
            f"get_{what}_features of {type(model).__name__} gives {shape or 'nothing pooled'} where a row of features "
            "for each input is wanted. Choose a network that pools them itself."
        )
    return nn.functional.normalize(features, dim=-1)
