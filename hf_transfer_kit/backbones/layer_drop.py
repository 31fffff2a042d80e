"""Networks that leave whole layers out at random while they train."""

from __future__ import annotations

from torch import nn

from hf_transfer_kit.backbones.unwrapping import plain_model

_NAMES = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")


def layer_drop(model: nn.Module) -> tuple[str, float] | None:
    """Name and value of the setting by which a model leaves layers out in training (LayerDrop, Fan et al. 2020).

    Returns:
        The first of the config's chances above 0, in (0, 1]; None where all layers run in every forward.

    Example:
        >>> layer_drop(model)  # a network without such a setting
    """
    config = getattr(plain_model(model)[0], "config", None)
    drops = {name: getattr(config, name, 0.0) or 0.0 for name in _NAMES}
    return next(((name, chance) for name, chance in drops.items() if chance > 0), None)
