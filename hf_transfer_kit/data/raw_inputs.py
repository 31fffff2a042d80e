"""Raw rows (files, pictures, texts, waves) as the inputs that a network was trained and measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.data.collating import FeatureCollator, ImageCollator, TextCollator, WaveCollator
from hf_transfer_kit.data.contents import contents_hash
from hf_transfer_kit.data.decoding import problem_of
from hf_transfer_kit.data.images import LEAST_SIDE, MOST_SIDE, ImageGeometry, image_geometry
from hf_transfer_kit.data.sounds import beginnings, decoded_waves, mel_picture, samples_of
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.options import check_int, check_number
from hf_transfer_kit.values import KnownCollator

logger = cast(Any, get_logger(__name__))  # transformers gives loggers warning_once

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
        return self.collator(self.rows(rows))

    def rows(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        """What the collator takes, a dictionary for each of these stored or decoded values, which can be read."""
        if self.modality == "image":
            return [{"pixel_values": self._geometry.decode(value)} for value in values]
        if self.modality == "text":
            return token_rows(encoded(self.processor, values, self.sizes.max_length))
        longest = cast(float, self.sizes.max_seconds)  # a number for sounds
        waves = decoded_waves(values, self._sounds.rate, max_seconds=longest)
        waves, cut = beginnings(waves, samples_of(longest, self._sounds.rate))
        if cut:
            logger.warning_once(f"Of sounds longer than {longest:.2f} seconds, max_seconds, the rest is not heard.")
        return [{self._sounds.name: value} for value in self._sounds.values(waves)]

    @cached_property
    def collator(self) -> KnownCollator:
        """Rows of ``rows`` -> batch."""
        if self.modality == "image":
            return ImageCollator(self._geometry)
        return TextCollator(self.processor) if self.modality == "text" else self._sounds.collator

    @cached_property
    def _geometry(self) -> ImageGeometry:
        return image_geometry(self.processor, image_size=self.sizes.image_size, channels=self.sizes.channels)

    @cached_property
    def _sounds(self) -> SoundInputs:
        return SoundInputs(self.processor, self.sizes)

    def settings(self) -> dict[str, Any]:
        """What beside the processor's own files brings it back."""
        timm = {"timm": dict(self.processor.data_config)} if hasattr(self.processor, "data_config") else {}
        return {"modality": self.modality, "reads": self.reads, **asdict(self.sizes), **timm}

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with what is made of a row."""
        return contents_hash(["raw inputs", self.processor, self.settings()])

    def _is_path(self, row: Any) -> bool:
        return self.modality != "text" and isinstance(row, (str, Path))


def check_sizes(sizes: InputSizes, name: str, modality: str, processor: Any) -> None:
    """Refuses sizes out of range, and those of what these inputs do not have, which would do nothing.

    Args:
        sizes: As asked for.
        name: Of the data.
        modality: What it holds.
        processor: Of the network.

    Raises:
        SettingsError: With the size.
    """
    if sizes.image_size is not None:
        check_int("prepare_data", "image_size", sizes.image_size, low=LEAST_SIDE, high=MOST_SIDE)
    check_int("prepare_data", "max_length", sizes.max_length, low=1)
    if sizes.max_seconds is not None:
        check_number("prepare_data", "max_seconds", sizes.max_seconds, low=0, above=True)
    if sizes.channels not in (None, 1, 3):
        raise SettingsError(f"channels={sizes.channels!r}: pictures have 1 (grey) or 3 (colours).")
    of_pictures = {"image_size", "channels"}
    used = {"image": of_pictures, "text": {"max_length"}, "audio": {"max_seconds"}}[modality]
    if modality == "audio" and SoundInputs(processor, sizes).as_pictures:
        used |= of_pictures
    for size in fields(InputSizes):
        value = getattr(sizes, size.name)
        if size.name not in used and value != size.default:
            inputs = "sounds that are read as waves" if modality == "audio" else modality
            raise SettingsError(
                f"{size.name} {value} was given, but {name} holds {inputs}, which has no such size. Leave "
                f"{size.name} out."
            )


def check_tokenizer(tokenizer: Any, sizes: InputSizes, name: str, *, texts: int) -> None:
    """Refuses what is no tokenizer, or leaves nothing of a text; one that has no padding pads with its last token.

    Args:
        tokenizer: The checkpoint's.
        sizes: Says how long a text may be.
        name: Of the data.
        texts: How many a row has.

    Raises:
        DataError: When it is no tokenizer.
        SettingsError: When ``max_length`` is no longer than the tokenizer's own tokens.
    """
    if not hasattr(tokenizer, "pad") or not callable(tokenizer):
        raise DataError(f"{type(tokenizer).__name__} is no tokenizer, but {name} holds texts.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    kept_for = getattr(tokenizer, "num_special_tokens_to_add", lambda pair: 0)(texts > 1)
    if sizes.max_length <= kept_for:
        raise SettingsError(
            f"max_length={sizes.max_length} leaves nothing of a text: {kept_for} tokens are the tokenizer's own. Give "
            f"more than that."
        )


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
