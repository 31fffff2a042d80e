"""Loaded splits as what the Trainer takes: datasets of model-ready rows and a collator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from hf_transfer_kit.data.collating import FeatureCollator, ImageCollator, TextCollator, WaveCollator
from hf_transfer_kit.data.decoding import undecoded
from hf_transfer_kit.data.images import image_augmentation, image_geometry
from hf_transfer_kit.data.labels import class_values
from hf_transfer_kit.data.loading import LoadedData
from hf_transfer_kit.data.memory import Rows, held_or_lazy
from hf_transfer_kit.data.sounds import decoded_waves, mel_picture, usual_longest
from hf_transfer_kit.errors import DataError, SettingsError

SPLITS = ("train", "validation", "test")
GIBIBYTE = 2**30


@dataclass(frozen=True)
class PreparedData:
    """Splits ready for the Trainer.

    Args:
        train: Map-style dataset of rows; augmented where asked for.
        validation: The same, never augmented.
        test: The same, never augmented.
        collator: List of rows -> batch of tensors.
        modality: ``"image"``, ``"text"`` or ``"audio"``.
        label_names: Names of the classes.
        describe: What was done, for reports: image size, memory in bytes, whether it is decoded once.
    """

    train: Rows
    validation: Rows
    test: Rows
    collator: Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]]
    modality: str
    label_names: tuple[str, ...]
    describe: Mapping[str, Any] = field(default_factory=dict)


def prepare_data(
    data: LoadedData,
    processor: Any,
    *,
    augment: bool | str = False,
    image_size: int | None = None,
    max_length: int = 128,
    max_seconds: float | None = None,
    memory_limit: int = GIBIBYTE,
) -> PreparedData:
    """Turns every row into what the model reads, once where it fits into memory.

    Images become what the processor would make of them, up to rounding: decoded, resized and cropped once to uint8,
    normalised per batch. Texts are tokenized once and padded per batch. Sounds become waves at the extractor's rate,
    or, with an image processor, log-mel pictures.

    Args:
        data: Loaded splits.
        processor: The checkpoint's image processor, tokenizer or feature extractor.
        augment: Random crops and mirror images of training pictures; ``"no_flip"`` leaves mirroring out.
        image_size: Another side of the pictures in pixels.
        max_length: Longest text in tokens; longer ones are cut.
        max_seconds: Longest sound in seconds; None takes the length that 99 % of them keep within, at most 10.
        memory_limit: Bytes that decoded images of one split may take; beyond, rows are decoded when asked for.

    Raises:
        DataError: When the processor does not fit the data.
        SettingsError: When ``augment`` is unknown or asked for data without pictures.
    """
    if augment not in (False, True, "no_flip"):
        raise SettingsError(f"augment={augment!r} is unknown; choose True, False or 'no_flip'.")
    if augment and data.modality != "image":
        raise SettingsError(f"Augmentation is for images, but {data.name} holds {data.modality}. Leave --augment out.")
    makers = {"image": _images, "text": _texts, "audio": _sounds}
    inputs, collator, name, describe = makers[data.modality](
        data,
        processor,
        image_size=image_size,
        max_length=max_length,
        max_seconds=max_seconds,
        memory_limit=memory_limit,
    )
    change = None
    if augment:
        change = image_augmentation(collator.geometry.size, flip=augment is True)
    rows = {
        split: Rows(
            inputs[split],
            class_values(getattr(data, split), data.label_column),
            name,
            change=change if split == "train" else None,
        )
        for split in SPLITS
    }
    return PreparedData(
        **rows,
        collator=collator,
        modality=data.modality,
        label_names=data.label_names,
        describe={**describe, "augmented": augment},
    )


def _images(data: LoadedData, processor, *, image_size, memory_limit, **_unused):
    geometry = image_geometry(processor, image_size=image_size)
    inputs = {
        split: held_or_lazy(
            undecoded(getattr(data, split), data.input_columns[0], "image"),
            geometry.decode,
            row_bytes=geometry.bytes_per_image,
            memory_limit=memory_limit,
        )
        for split in SPLITS
    }
    held = all(isinstance(values, torch.Tensor) for values in inputs.values())
    describe = {"image_size": list(geometry.size), "decoded_once": held}
    return inputs, ImageCollator(geometry), "pixel_values", describe


def _texts(data: LoadedData, tokenizer, *, max_length, **_unused):
    if not hasattr(tokenizer, "pad") or not callable(tokenizer):
        raise DataError(f"{type(tokenizer).__name__} is no tokenizer, but {data.name} holds texts.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    inputs = {}
    for split in SPLITS:
        texts = [list(getattr(data, split)[column]) for column in data.input_columns]
        tokens = tokenizer(*texts, truncation=True, max_length=max_length)
        keys = list(tokens.keys())
        inputs[split] = [dict(zip(keys, row, strict=True)) for row in zip(*(tokens[key] for key in keys), strict=True)]
    longest = max(len(row["input_ids"]) for row in inputs["train"])
    return inputs, TextCollator(tokenizer), None, {"longest_text": longest, "decoded_once": True}


def _sounds(data: LoadedData, processor, *, image_size, max_seconds, **_unused):
    as_picture = hasattr(processor, "image_mean") or hasattr(processor, "data_config")
    rate = 16_000 if as_picture else processor.sampling_rate
    stored = {split: undecoded(getattr(data, split), data.input_columns[0], "audio") for split in SPLITS}
    waves = {split: decoded_waves(stored[split], rate, max_seconds=max_seconds) for split in SPLITS}
    if max_seconds is None:
        max_seconds = usual_longest([len(wave) / rate for wave in waves["train"]])
        waves = {split: [wave[: round(max_seconds * rate)] for wave in waves[split]] for split in SPLITS}
    describe = {"sampling_rate": rate, "max_seconds": round(max_seconds, 3), "decoded_once": True}
    if as_picture:
        geometry = image_geometry(processor, image_size=image_size)
        draw = partial(mel_picture, sampling_rate=rate, size=geometry.size, channels=geometry.channels)
        inputs = {split: torch.stack([draw(wave) for wave in waves[split]]) for split in SPLITS}
        describe["image_size"] = list(geometry.size)
        return inputs, ImageCollator(geometry), "pixel_values", describe
    if processor.model_input_names[0] == "input_features":
        inputs = {split: _features(processor, waves[split]) for split in SPLITS}
        return inputs, FeatureCollator(), "input_features", describe
    # Very short sounds would leave a convolutional encoder without a frame.
    least = round(0.1 * rate)
    inputs = {split: [np.pad(wave, (0, max(0, least - len(wave)))) for wave in waves[split]] for split in SPLITS}
    return inputs, WaveCollator(processor), "wave", describe


def _features(extractor, waves: list[np.ndarray]) -> torch.Tensor:
    features = [
        extractor(wave, sampling_rate=extractor.sampling_rate, return_tensors="pt").input_features[0] for wave in waves
    ]
    return torch.stack(features)
