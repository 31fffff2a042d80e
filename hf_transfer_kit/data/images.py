"""Images as model inputs: one geometry taken from the processor, decoded once to uint8, normalised per batch."""

from __future__ import annotations

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
from hf_transfer_kit.errors import DataError


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
    """

    size: tuple[int, int]
    resize: tuple[int, int] | int
    interpolation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 3

    @property
    def bytes_per_image(self) -> int:
        """Memory of one decoded image."""
        return self.channels * self.size[0] * self.size[1]

    def decode(self, value: Any) -> Tensor:
        """A stored or decoded image as uint8 of shape (C, H, W), resized and centre-cropped."""
        image = rgb_image(value)
        if self.channels == 1:
            image = image.convert("L")
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
        DataError: When the processor does not say how large its images are.
    """
    if hasattr(processor, "data_config"):
        geometry = _timm_geometry(processor.data_config, image_size)
    else:
        geometry = _transformers_geometry(processor, image_size)
    if channels is None or channels == geometry.channels:
        return geometry
    mean, std = (tuple(channels * [float(np.mean(values))]) for values in (geometry.mean, geometry.std))
    return replace(geometry, channels=channels, mean=mean, std=std)


def _transformers_geometry(processor: Any, image_size: int | None) -> ImageGeometry:
    size = _height_width(getattr(processor, "size", None))
    crop = _height_width(getattr(processor, "crop_size", None)) if getattr(processor, "do_center_crop", False) else None
    if size is None and crop is None:
        raise DataError(
            f"{type(processor).__name__} does not say how large its images are (size, crop_size). Give --image_size."
        )
    resize = size if size is not None else crop
    final = crop or (resize if isinstance(resize, tuple) else (resize, resize))
    crop_share = getattr(processor, "crop_pct", None)
    if crop_share and isinstance(resize, int) and resize < 384:
        resize = int(resize / crop_share)  # ConvNext's processor: resize larger, then crop
    if image_size is not None:
        ratio = image_size / final[0]
        resize = round(resize * ratio) if isinstance(resize, int) else tuple(round(side * ratio) for side in resize)
        final = (image_size, image_size)
    normalizes = getattr(processor, "do_normalize", True)
    mean = tuple(processor.image_mean) if normalizes else (0.0,) * 3
    std = tuple(processor.image_std) if normalizes else (1.0,) * 3
    resample = getattr(processor, "resample", None)
    interpolation = int(resample) if resample is not None else int(Pictures.Resampling.BILINEAR)
    return ImageGeometry(final, resize, interpolation, mean, std, channels=len(mean))


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


def _height_width(size: Any) -> tuple[int, int] | int | None:
    if size is None or isinstance(size, int):
        return size
    size = dict(size)
    if size.get("shortest_edge"):
        return int(size["shortest_edge"])
    if size.get("height"):
        return int(size["height"]), int(size["width"])
    return None


def image_augmentation(size: Sequence[int], *, flip: bool) -> v2.Transform:
    """Random resized crops of 60 to 100 % of the area, and mirror images where ``flip``; for uint8 (C, H, W)."""
    crop = v2.RandomResizedCrop(
        list(size), scale=(0.6, 1.0), ratio=(0.8, 1.25), interpolation=InterpolationMode.BILINEAR
    )
    return v2.Compose([crop, v2.RandomHorizontalFlip()]) if flip else crop
