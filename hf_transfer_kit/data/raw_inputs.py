"""Raw rows (files, pictures, texts, waves) as the inputs that a network was trained and measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.data.collating import FeatureCollator, ImageCollator, TextCollator, WaveCollator
from hf_transfer_kit.data.contents import contents_hash
from hf_transfer_kit.data.decoding import problem_of
from hf_transfer_kit.data.images import ImageGeometry, image_geometry
from hf_transfer_kit.data.sounds import decoded_waves, mel_picture
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.values import KnownCollator

LEAST_SECONDS = 0.1
"""Shorter waves would leave a convolutional encoder without a frame."""
PICTURES_OF_SOUNDS_RATE = 16_000
"""Sampling rate in Hz of sounds that become pictures."""


@dataclass(frozen=True)
class InputSizes:
    """How large inputs are made.

    Args:
        image_size: Side of pictures in pixels; None for the processor's.
        max_length: Longest text in tokens.
        max_seconds: Longest sound in seconds; None for the usual length of the data.
        channels: Of pictures, 3 or 1; None for the processor's.

    Example:
        >>> InputSizes(image_size=32).image_size
        32
    """

    image_size: int | None = None
    max_length: int = 128
    max_seconds: float | None = None
    channels: int | None = None


@dataclass(frozen=True)
class SoundInputs:
    """Waves as inputs: features of the checkpoint's extractor, waves for it, or log-mel pictures.

    Args:
        processor: A feature extractor, or an image processor for pictures.
        sizes: Of pictures, and the longest sound.
    """

    processor: Any
    sizes: InputSizes

    @cached_property
    def as_pictures(self) -> bool:
        """Whether sounds become pictures."""
        return reads_pictures(self.processor)

    @property
    def rate(self) -> int:
        """Sampling rate in Hz."""
        return PICTURES_OF_SOUNDS_RATE if self.as_pictures else self.processor.sampling_rate

    @cached_property
    def geometry(self) -> ImageGeometry:
        """Of the pictures."""
        return image_geometry(self.processor, image_size=self.sizes.image_size, channels=self.sizes.channels)

    @property
    def name(self) -> str:
        """Key of the input in a row."""
        if self.as_pictures:
            return "pixel_values"
        return "input_features" if self.processor.model_input_names[0] == "input_features" else "wave"

    @cached_property
    def collator(self) -> KnownCollator:
        """Rows -> batch."""
        if self.as_pictures:
            return ImageCollator(self.geometry)
        if self.name == "input_features":
            return FeatureCollator()
        longest = cast(float, self.sizes.max_seconds)  # a number for waves
        return WaveCollator(self.processor, round(max(longest, LEAST_SECONDS) * self.rate))

    def values(self, waves: Sequence[np.ndarray]) -> Sequence[Any] | Tensor:
        """Waves of shape (samples,), cut already, as the inputs of rows."""
        if self.as_pictures:
            size, channels = self.geometry.size, self.geometry.channels
            return torch.stack([mel_picture(wave, self.rate, size=size, channels=channels) for wave in waves])
        if self.name == "input_features":
            options = {"sampling_rate": self.rate, "return_tensors": "pt"}
            return torch.stack([self.processor(wave, **options).input_features[0] for wave in waves])
        least = round(LEAST_SECONDS * self.rate)
        return [np.pad(wave, (0, max(0, least - len(wave)))) for wave in waves]


@dataclass(frozen=True)
class RawInputs:
    """Makes the batch that a network reads of raw rows, in the way its training rows were made.

    ``PreparedData.raw_inputs`` gives it, ``hf_transfer_kit.load_inputs`` reads it from a saved model's folder.

    Args:
        modality: What rows hold: ``"image"``, ``"text"`` or ``"audio"``.
        processor: Of the network.
        sizes: How large inputs are made; ``max_seconds`` is a number for sounds.
    """

    modality: str
    processor: Any
    sizes: InputSizes

    @property
    def reads(self) -> str:
        """What the network reads: sounds may have become pictures."""
        return "image" if self.modality == "audio" and reads_pictures(self.processor) else self.modality

    def __call__(self, rows: Sequence[Any]) -> dict[str, Tensor]:
        """The batch of these rows.

        Args:
            rows: Of pictures and sounds paths, or what ``datasets`` gives (of sounds arrays with their sampling rate);
                of texts strings, pairs of them as tuples, or lists of words.

        Raises:
            DataError: When a row cannot be read; it is named.
        """
        rows = [{"path": str(row)} if self._is_path(row) else row for row in rows]
        for place, row in enumerate(rows):
            if problem := problem_of(row, self.modality):
                raise DataError(f"Row {place} cannot be read: {problem}.")
        if self.modality == "image":
            geometry = image_geometry(self.processor, image_size=self.sizes.image_size, channels=self.sizes.channels)
            return ImageCollator(geometry)([{"pixel_values": geometry.decode(row)} for row in rows])
        if self.modality == "text":
            return TextCollator(self.processor)(token_rows(encoded(self.processor, rows, self.sizes.max_length)))
        sounds = SoundInputs(self.processor, self.sizes)
        waves = decoded_waves(rows, sounds.rate, max_seconds=self.sizes.max_seconds)
        return sounds.collator([{sounds.name: value} for value in sounds.values(waves)])

    def settings(self) -> dict[str, Any]:
        """What beside the processor's own files brings it back."""
        timm = {"timm": dict(self.processor.data_config)} if hasattr(self.processor, "data_config") else {}
        return {"modality": self.modality, "reads": self.reads, **asdict(self.sizes), **timm}

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with what is made of a row."""
        return contents_hash(["raw inputs", self.processor, self.settings()])

    def _is_path(self, row: Any) -> bool:
        return self.modality != "text" and isinstance(row, (str, Path))


def reads_pictures(processor: Any) -> bool:
    """Whether a processor makes pictures, of transformers or of timm."""
    return hasattr(processor, "image_mean") or hasattr(processor, "data_config")


def encoded(tokenizer: Any, texts: Sequence[Any], max_length: int) -> Any:
    """The tokenizer's answer for texts, pairs of texts (tuples) or lists of words."""
    options = {"truncation": True, "max_length": max_length}
    if texts and isinstance(texts[0], tuple):
        return tokenizer(*(list(side) for side in zip(*texts, strict=True)), **options)
    words = bool(texts) and not isinstance(texts[0], str)
    return tokenizer(list(texts), is_split_into_words=words, **options)


def token_rows(encoding: Mapping[str, Sequence[Any]]) -> list[dict[str, list[int]]]:
    """A tokenizer's answer as rows of token lists."""
    keys = list(encoding.keys())
    return [dict(zip(keys, row, strict=True)) for row in zip(*(encoding[key] for key in keys), strict=True)]
