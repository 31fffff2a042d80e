"""Source images that look as those of the target: the amplitudes of their spectrum are mixed with a target image's."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_transfer_kit.errors import DataError


def in_style_of(images: Tensor, style: Tensor, amount: float = 1.0) -> Tensor:
    """Images with their own phase, that is shapes, and amplitudes between their own and those of others.

    Xu et al. 2021 mix amplitudes of several sources so, Yang and Soatto 2020 swap the low frequencies' for a target's.
    The share of the other image is drawn evenly up to ``amount``, one for each image; means of colours are mixed
    likewise, since an amplitude would lose their sign.

    Args:
        images: (N, channels, height, width), floating point.
        style: Other images, one for each, of the same shape.
        amount: In [0, 1]; 0 changes nothing.

    Returns:
        Of the same shape, no gradient.

    Raises:
        DataError: When the shapes differ.
    """
    if images.shape != style.shape:
        raise DataError(
            f"Images of shape {tuple(images.shape)} cannot take the style of images of shape {tuple(style.shape)}: "
            "prepare both domains alike."
        )
    if amount == 0:
        return images
    with torch.no_grad():
        kind = images.dtype if images.dtype == torch.float64 else torch.float32
        own, other = torch.fft.rfft2(images.to(kind)), torch.fft.rfft2(style.to(kind))
        share = amount * torch.rand(len(images), 1, 1, 1, dtype=kind, device=images.device)
        mixed = torch.polar(torch.lerp(own.abs(), other.abs(), share), own.angle())
        mixed[..., 0, 0] = torch.lerp(own[..., 0, 0].real, other[..., 0, 0].real, share[..., 0, 0]).to(mixed.dtype)
        return torch.fft.irfft2(mixed, s=images.shape[-2:]).to(images.dtype)
