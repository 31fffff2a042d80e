"""A strong random change of inputs that keeps their class, for methods that compare two views of a row."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def strong_view(inputs: Tensor, amount: float = 1.0, *, invert: bool = True) -> Tensor:
    """Images: sign, gain and offset of colours, and a small affine map. Other inputs: gain and noise.

    Random numbers come from torch's own state of the inputs' device, a draw for each row.

    Args:
        inputs: (N, channels, height, width) or (N, ...), floating point.
        amount: At least 0; 0 changes nothing, 1 turns by up to 15 degrees, scales by up to 15 %, shifts by up to 10 %.
        invert: Whether every second image is inverted; photos rarely are in any target.

    Returns:
        Of the same shape, no gradient.
    """
    with torch.no_grad():
        if amount == 0:
            return inputs
        if inputs.dim() == 4:
            return recoloured(moved(inputs, amount), amount, invert=invert)
        shape = (len(inputs), *[1] * (inputs.dim() - 1))
        gain = torch.exp(0.3 * amount * torch.randn(shape, dtype=inputs.dtype, device=inputs.device))
        deviation = inputs.flatten(1).std(1).view(shape)
        return gain * inputs + 0.1 * amount * deviation * torch.randn_like(inputs)


def mirrored(inputs: Tensor) -> Tensor:
    """Images of which every second one, at random, is mirrored left to right; other inputs as they are.

    Args:
        inputs: (N, channels, height, width) or (N, ...).
    """
    if inputs.dim() != 4:
        return inputs
    turned = torch.rand(len(inputs), 1, 1, 1, device=inputs.device) < 0.5
    return torch.where(turned, inputs.flip(3), inputs)


def recoloured(images: Tensor, amount: float, *, invert: bool = True) -> Tensor:
    """Images whose colours are, at random, inverted about the row's mean, scaled by up to half and shifted.

    Args:
        images: (N, channels, height, width).
        amount: At least 0; 1 scales by up to half and shifts by up to half a standard deviation.
        invert: Whether every second image is inverted.
    """
    rows, channels = images.shape[:2]
    mean = images.mean((1, 2, 3), keepdim=True)
    deviation = images.std((1, 2, 3), keepdim=True)
    draws = torch.rand(rows, 2 * channels + 1, 1, 1, dtype=images.dtype, device=images.device)
    sign = torch.where(draws[:, :1] < 0.5, -1.0, 1.0).to(images.dtype) if invert else 1.0
    gain = 1 + 0.5 * min(amount, 2) * (2 * draws[:, 1 : channels + 1] - 1)
    offset = 0.5 * amount * (2 * draws[:, channels + 1 :] - 1) * deviation
    return mean + sign * gain * (images - mean) + offset


def moved(images: Tensor, amount: float) -> Tensor:
    """Images turned, scaled and shifted a little, each in its own way; edges are repeated.

    Args:
        images: (N, channels, height, width).
        amount: 1 turns by up to 15 degrees, scales by up to 15 %, shifts by up to 10 % of the side.
    """
    kind = images.dtype if images.dtype == torch.float64 else torch.float32
    draws = 2 * torch.rand(4, len(images), dtype=kind, device=images.device) - 1
    angle = amount * math.radians(15) * draws[0]
    scale = torch.exp(amount * math.log(1.15) * draws[1])
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    shift = 0.2 * amount * draws[2:]  # the side is 2 long
    maps = torch.stack([torch.stack([cosine, -sine, shift[0]], 1), torch.stack([sine, cosine, shift[1]], 1)], 1)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False).to(images.dtype)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
