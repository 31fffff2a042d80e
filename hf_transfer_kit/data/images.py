"""Images as model inputs: one geometry taken from the processor, decoded once to uint8, normalised per batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from hf_transfer_kit.data.decoding import rgb_image
from hf_transfer_kit.errors import DataError, first_line

LEAST_SIDE, MOST_SIDE = 8, 8192
"""Sides in pixels between which a picture shows something, and fits into memory."""


@dataclass(frozen=True)
class ImageGeometry:
    """What a processor does to an image.

    Args:
        size: Height and width the model reads, in pixels.
        resize: Height and width to resize to before the centre crop; one number resizes the shorter side.
        interpolation: One of PIL's resampling codes.
        mean: Of each channel, after division by 255.
        std: The same.
        channels: 3, or 1 for grey.
        through: The processor of transformers that resizes and crops in place of ``resize`` and ``interpolation``; None
            for timm's, whose two steps these are.
    """

    size: tuple[int, int]
    resize: tuple[int, int] | int
    interpolation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 3
    through: Any = None

    @property
    def bytes_per_image(self) -> int:
        """Memory of one decoded image."""
        return self.channels * self.size[0] * self.size[1]

    def decode(self, value: Any) -> Tensor:
        """A stored or decoded image as uint8 of shape (C, H, W), resized and centre-cropped."""
        image = rgb_image(value)
        if self.channels == 1:
            image = image.convert("L")
        if self.through is not None:
            return _pixels(self.through, image.convert("RGB"))[: self.channels].contiguous()
        target = self.resize
        if isinstance(target, int):
            width, height = image.size
            scale = target / min(width, height)
            target = (max(target, int(height * scale)), max(target, int(width * scale)))
        if (target[1], target[0]) != image.size:
            image = image.resize((target[1], target[0]), Pictures.Resampling(self.interpolation))
        pixels = np.array(image, dtype=np.uint8)
        tensor = torch.from_numpy(pixels if pixels.ndim == 3 else pixels[:, :, None]).permute(2, 0, 1)
        return F.center_crop(tensor, list(self.size)).contiguous()

    def normalize(self, images: Tensor) -> Tensor:
        """Batch of uint8 of shape (B, C, H, W) as the float input of the model, same shape."""
        mean = torch.tensor(self.mean).view(-1, 1, 1) * 255
        std = torch.tensor(self.std).view(-1, 1, 1) * 255
        return (images.float() - mean) / std


def image_geometry(processor: Any, *, image_size: int | None = None, channels: int | None = None) -> ImageGeometry:
    """The geometry of an image processor of transformers, timm's included.

    Args:
        processor: The checkpoint's processor.
        image_size: Another side in pixels; the ratio of crop to resize stays.
        channels: 1 for grey, normalised by the means over the processor's channels; None for the processor's.

    Raises:
        DataError: When the processor makes no pictures of one size.
    """
    if hasattr(processor, "data_config"):
        geometry = _timm_geometry(processor.data_config, image_size)
    else:
        geometry = _transformers_geometry(processor, image_size)
    if channels is None or channels == geometry.channels:
        return geometry
    mean, std = (tuple(channels * [float(np.mean(values))]) for values in (geometry.mean, geometry.std))
    return replace(geometry, channels=channels, mean=mean, std=std)


def sized_processor(processor: Any, image_size: int | None) -> Any:
    """A processor of transformers that makes pictures of another side (pixels); None leaves it.

    Raises:
        DataError: When its pictures have no one size.
    """
    if image_size is None:
        return processor
    ratio = image_size / _final_size(processor)[0]
    sized = copy.deepcopy(processor)
    for name in ("size", "crop_size"):
        old = getattr(sized, name, None)
        if isinstance(old, int):
            setattr(sized, name, round(old * ratio))
        elif old:
            setattr(
                sized, name, type(old)(**{side: round(value * ratio) for side, value in dict(old).items() if value})
            )
    if _final_size(sized) != (image_size, image_size):
        raise DataError(f"{type(processor).__name__} makes no pictures of {image_size} x {image_size}: leave the size.")
    return sized


def _transformers_geometry(processor: Any, image_size: int | None) -> ImageGeometry:
    processor = sized_processor(processor, image_size)
    size = _final_size(processor)
    # What it does to values is read off black and white: whatever it is made of, it is a line for each channel.
    black, white = (
        _called(processor, Pictures.new("RGB", (96, 96), 3 * (value,)))[:, size[0] // 2, size[1] // 2].double()
        for value in (0, 255)
    )
    std = 1 / (white - black)
    mean = -black * std
    return ImageGeometry(
        size, size, Pictures.Resampling.BILINEAR, tuple(mean.tolist()), tuple(std.tolist()), len(mean), processor
    )


def _final_size(processor: Any) -> tuple[int, int]:
    """Height and width of what a processor makes of pictures of any shape."""
    name = type(processor).__name__
    try:
        shapes = {tuple(_called(processor, Pictures.new("RGB", side)).shape) for side in ((96, 96), (130, 90))}
    except Exception as error:  # processors fail in their own ways
        raise DataError(f"{name} makes no pictures that a network could read ({first_line(error)}).") from error
    if len(shapes) > 1 or len(next(iter(shapes))) != 3:
        raise DataError(
            f"{name} makes pictures of several sizes ({', '.join(map(str, sorted(shapes)))}), which fit into no batch. "
            "Give a processor that makes them of one."
        )
    _, height, width = next(iter(shapes))
    return height, width


def _called(processor: Any, image: Pictures.Image, **options: Any) -> Tensor:
    made = processor(image, return_tensors="pt", **options)["pixel_values"]
    return torch.as_tensor(np.asarray(made[0]))


def _pixels(processor: Any, image: Pictures.Image) -> Tensor:
    """What a processor makes of a picture before it changes its values, uint8 of shape (C, H, W)."""
    options = {"do_rescale": False, "do_normalize": False}
    if hasattr(processor, "include_top"):  # EfficientNet's normalises twice
        options["include_top"] = False
    return _called(processor, image, **options).round().clamp(0, 255).to(torch.uint8)


def _timm_geometry(config: dict[str, Any], image_size: int | None) -> ImageGeometry:
    channels, height, width = config["input_size"]
    if image_size is not None:
        height = width = image_size
    share = config.get("crop_pct") or 1.0
    resize = int(height / share) if height == width else (int(height / share), int(width / share))
    interpolation = getattr(
        Pictures.Resampling, config.get("interpolation", "bicubic").upper(), Pictures.Resampling.BICUBIC
    )
    return ImageGeometry(
        (height, width), resize, int(interpolation), tuple(config["mean"]), tuple(config["std"]), channels
    )


def image_augmentation(size: Sequence[int], *, flip: bool) -> v2.Transform:
    """Random resized crops of 60 to 100 % of the area, and mirror images where ``flip``; for uint8 (C, H, W)."""
    crop = v2.RandomResizedCrop(
        list(size), scale=(0.6, 1.0), ratio=(0.8, 1.25), interpolation=InterpolationMode.BILINEAR
    )
    return v2.Compose([crop, v2.RandomHorizontalFlip()]) if flip else crop
