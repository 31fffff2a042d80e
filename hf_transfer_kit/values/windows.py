"""The window of a sound network: however long a sound is, its extractor makes so many frames of it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

from hf_transfer_kit.errors import SettingsError

_KALDI_FRAMES = 100
"""A second, of extractors that make frames as Kaldi does and name no step."""


@dataclass(frozen=True)
class Window:
    """What an extractor pads or cuts every sound to.

    Args:
        frames: Its length.
        frames_per_second: Of sound.

    Example:
        >>> from transformers import WhisperFeatureExtractor
        >>> Window.of(WhisperFeatureExtractor())
        Window(frames=3000, frames_per_second=100)
    """

    frames: int
    frames_per_second: int

    @classmethod
    def of(cls, extractor: Any) -> Window | None:
        """The window of a feature extractor, of Whisper's kind or of the Audio Spectrogram Transformer's; None where
        inputs are as long as sounds."""
        if _is_whispers(extractor):
            return cls(int(extractor.nb_max_frames), round(extractor.sampling_rate / extractor.hop_length))
        return cls(int(extractor.max_length), _KALDI_FRAMES) if _is_spectrogram_transformers(extractor) else None

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.frames / self.frames_per_second


def with_window(extractor: Any, seconds: float) -> Any:
    """The extractor, or a copy of it whose window is no longer than sounds of so many seconds need.

    The window is a whole number of seconds: transformers keeps no other of Whisper's extractors in their files. One
    without a window is returned as it is.

    Args:
        extractor: A feature extractor.
        seconds: Length of the longest sound, above 0.

    Raises:
        SettingsError: When sounds are longer than the extractor's own window.

    Example:
        >>> from transformers import WhisperFeatureExtractor
        >>> with_window(WhisperFeatureExtractor(), 1.3).nb_max_frames
        200
    """
    window = Window.of(extractor)
    if window is None:
        return extractor
    if seconds > window.seconds:
        raise SettingsError(
            f"{type(extractor).__name__} gives its network {window.seconds:g} seconds of a sound, and {seconds:g} were "
            f"asked for: what comes later would be cut off. Give max_seconds of at most {window.seconds:g}."
        )
    whole = math.ceil(seconds)
    if whole >= window.seconds:
        return extractor
    short = copy.deepcopy(extractor)
    if _is_whispers(extractor):
        short.chunk_length = whole
        short.n_samples = whole * extractor.sampling_rate
        short.nb_max_frames = short.n_samples // extractor.hop_length
    else:
        short.max_length = whole * _KALDI_FRAMES
    return short


def _is_whispers(extractor: Any) -> bool:
    return all(isinstance(getattr(extractor, name, None), int) for name in ("chunk_length", "nb_max_frames"))


def _is_spectrogram_transformers(extractor: Any) -> bool:
    return all(isinstance(getattr(extractor, name, None), int) for name in ("max_length", "num_mel_bins"))
