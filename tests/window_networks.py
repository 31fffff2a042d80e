"""Tiny networks that hear windows of one length, with their extractors, and folders of sounds that are shorter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tiny
import torch
import transformers as tf

SECONDS = 3
"""Of every window here."""
RATE = 8_000
CLASSES = ("deep", "low", "high")


def whisper(**settings: Any) -> tuple[tf.PreTrainedModel, Any]:
    sizes = {"d_model": 8, "encoder_layers": 3, "decoder_layers": 1, "encoder_attention_heads": 2}
    config = tf.WhisperConfig(
        **sizes, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, num_labels=3,
        classifier_proj_size=6, max_source_positions=50 * SECONDS, **settings,
    )  # fmt: skip
    model = tf.WhisperForAudioClassification(config)
    return model, tf.WhisperFeatureExtractor(feature_size=8, chunk_length=SECONDS)


def spectrogram_transformer(**settings: Any) -> tuple[tf.PreTrainedModel, Any]:
    config = tf.ASTConfig(
        **tiny.SIZES, num_mel_bins=16, max_length=100 * SECONDS, patch_size=8, time_stride=4, frequency_stride=4,
        num_labels=3, **settings,
    )  # fmt: skip
    model = tf.ASTForAudioClassification(config)
    with torch.no_grad():
        table = model.audio_spectrogram_transformer.embeddings.position_embeddings
        table.copy_(torch.arange(table.numel()).reshape(table.shape).sin())
    return model, tf.ASTFeatureExtractor(num_mel_bins=16, max_length=100 * SECONDS)


WITH_WINDOWS: Mapping[str, Callable[..., tuple[tf.PreTrainedModel, Any]]] = {
    "whisper": whisper,
    "audio-spectrogram-transformer": spectrogram_transformer,
}
"""Type of model -> a network and its extractor."""


def made(kind: str, **settings: Any) -> tuple[tf.PreTrainedModel, Any]:
    torch.manual_seed(0)
    model, extractor = WITH_WINDOWS[kind](**settings)
    return model.eval(), extractor


def saved(kind: str, folder: Path, *, dtype: torch.dtype = torch.float32, **settings: Any) -> Path:
    """The checkpoint of one that knows the classes, with its extractor."""
    names = dict(enumerate(sorted(CLASSES)))
    model, extractor = made(kind, id2label=names, label2id={name: place for place, name in names.items()}, **settings)
    model.to(dtype).save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def sounds(folder: Path, *, rows: int = 60, longest: float = 0.5, classes: Sequence[str] = CLASSES) -> Path:
    """Noisy tones of a quarter of a second to ``longest``, in a folder for each class."""
    draw = np.random.default_rng(0)
    for row in range(rows):
        kind = row % len(classes)
        path = folder / classes[kind] / f"{row}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        times = np.arange(int(RATE * (0.25 + (longest - 0.25) * row / (rows - 1)))) / RATE
        wave = np.sin(2 * np.pi * 200 * 1.7**kind * times) + draw.normal(0, 0.3, len(times))
        soundfile.write(path, 0.3 * wave, RATE)
    return folder
