"""Sounds as model inputs: waves or features of the checkpoint's extractor, or log-mel pictures for image networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.data.decoding import mono_wave


def decoded_waves(values: Sequence[Any], sampling_rate: int, *, max_seconds: float | None) -> list[np.ndarray]:
    """Waves of shape (samples,) at ``sampling_rate`` (Hz), cut to one sample more than ``max_seconds``: what is longer
    can be told until ``beginnings`` are taken.

    Args:
        values: Stored or decoded sounds.
        sampling_rate: In Hz.
        max_seconds: Longest wave; None keeps all.
    """
    waves = (mono_wave(value, sampling_rate) for value in values)
    most = None if max_seconds is None else samples_of(max_seconds, sampling_rate) + 1
    return [wave[:most] for wave in waves]


def samples_of(seconds: float, sampling_rate: int) -> int:
    """Samples of a wave that is kept for so many seconds, at least one."""
    return max(1, round(seconds * sampling_rate))


def beginnings(waves: Sequence[np.ndarray], samples: int) -> tuple[list[np.ndarray], int]:
    """The waves, no longer than so many samples, and how many lost their end."""
    return [wave[:samples] for wave in waves], sum(len(wave) > samples for wave in waves)


def usual_longest(seconds: Sequence[float], *, limit: float = 10.0) -> float:
    """The length (s) that 99 % of the sounds do not exceed, at most ``limit``."""
    return float(min(np.quantile(np.asarray(seconds), 0.99), limit))


def log_mel(
    wave: np.ndarray, sampling_rate: int, *, bands: int = 64, window: float = 0.025, hop: float = 0.010
) -> Tensor:
    """Log-mel spectrogram of shape (bands, frames), scaled to [0, 1] within the sound's upper 80 dB.

    Mel scale of O'Shaughnessy 1987, 2595 log10(1 + f / 700), triangular filters.

    Args:
        wave: Of shape (samples,).
        sampling_rate: In Hz.
        bands: Number of mel bands.
        window: Length of a window in seconds.
        hop: Step between windows in seconds.
    """
    size = 2 ** int(np.ceil(np.log2(window * sampling_rate)))
    signal = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
    if signal.numel() < size:
        signal = torch.nn.functional.pad(signal, (0, size - signal.numel()))
    spectrum = torch.stft(
        signal,
        n_fft=size,
        hop_length=max(1, int(hop * sampling_rate)),
        win_length=int(window * sampling_rate),
        window=torch.hann_window(int(window * sampling_rate)),
        return_complex=True,
    )
    energy = mel_filters(bands, size // 2 + 1, sampling_rate) @ spectrum.abs().square()
    decibels = 10 * torch.log10(energy.clamp_min(1e-10))
    return ((decibels - decibels.max()) / 80 + 1).clamp(0, 1)


def mel_filters(bands: int, frequencies: int, sampling_rate: int) -> Tensor:
    """Triangular mel filters of shape (bands, frequencies), from 0 Hz to half the sampling rate."""
    top = 2595 * np.log10(1 + sampling_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    grid = np.linspace(0, sampling_rate / 2, frequencies)
    rising = (grid[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - grid[None]) / (edges[2:] - edges[1:-1])[:, None]
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0, None).astype(np.float32))


def mel_picture(wave: np.ndarray, sampling_rate: int, size: tuple[int, int], channels: int) -> Tensor:
    """A sound as an image, uint8 of shape (channels, H, W): its log-mel spectrogram, low frequencies at the bottom."""
    picture = log_mel(wave, sampling_rate).flip(0)[None, None]
    picture = torch.nn.functional.interpolate(picture, size=size, mode="bilinear", align_corners=False)[0]
    return (picture * 255).round().to(torch.uint8).expand(channels, -1, -1).contiguous()
