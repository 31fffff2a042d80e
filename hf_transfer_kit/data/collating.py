"""Rows into batches: one class a kind of input. Rows without labels give batches without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.data.contents import contents_hash
from hf_transfer_kit.data.images import ImageGeometry

NOT_LABELLED = -100


def labels_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """What rows have under ``labels``; nothing when no row has one.

    Classes are int64 of shape (B,), numbers float32 (B,), lists int64 or float32 (B, L), padded with -100.
    """
    if not any("labels" in row for row in rows):
        return {}
    labels = [torch.as_tensor(row["labels"]) for row in rows]
    labels = [label.float() if label.is_floating_point() else label.long() for label in labels]
    if labels[0].dim() == 0:
        return {"labels": torch.stack(labels)}
    return {"labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=NOT_LABELLED)}


def on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch with its tensors on ``device``."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


@dataclass(frozen=True)
class ImageCollator:
    """uint8 images of shape (C, H, W) into a normalised float batch of shape (B, C, H, W)."""

    geometry: ImageGeometry

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        images = torch.stack([row["pixel_values"] for row in rows])
        return {"pixel_values": self.geometry.normalize(images), **labels_of(rows)}

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with the size, crop, interpolation or normalisation of the images."""
        return contents_hash(["images", vars(self.geometry)])


@dataclass(frozen=True)
class TextCollator:
    """Token lists into padded batches of shape (B, T), T the longest of the batch."""

    tokenizer: Any

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        tokens = [{key: value for key, value in row.items() if key != "labels"} for row in rows]
        return {**self.tokenizer.pad(tokens, return_tensors="pt"), **labels_of(rows)}

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with the vocabulary, its rules or the padding, not with what was padded."""
        return contents_hash(["texts", self.tokenizer])


@dataclass(frozen=True)
class WaveCollator:
    """Waves of shape (samples,) through the feature extractor, padded.

    Args:
        extractor: Of the checkpoint.
        longest: Samples of the longest wave. A network that is given no mask hears the padding, so that all waves get
            this length where the extractor makes none: a row's logits do not depend on its neighbours in the batch.
            Otherwise, and with None, they are padded to the longest of the batch.
    """

    extractor: Any
    longest: int | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        waves = [np.asarray(row["wave"], dtype=np.float32) for row in rows]
        rate = self.extractor.sampling_rate
        options: dict[str, Any] = {"padding": True}
        if self.longest is not None and not self.extractor.return_attention_mask:
            options = {"padding": "max_length", "max_length": max(self.longest, *map(len, waves))}
        batch = self.extractor(waves, sampling_rate=rate, return_tensors="pt", **options)
        return {**batch, **labels_of(rows)}

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any setting of the extractor, and with the longest wave."""
        return contents_hash(["waves", self.extractor, self.longest])


@dataclass(frozen=True)
class FeatureCollator:
    """Input features of one size, computed once, stacked to (B, ...)."""

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        return {"input_features": torch.stack([row["input_features"] for row in rows]), **labels_of(rows)}

    def fingerprint(self) -> str:
        """32 hexadecimal digits, always the same: the rows are only stacked."""
        return contents_hash(["features"])
