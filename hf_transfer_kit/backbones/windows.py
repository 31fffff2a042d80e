"""Networks that hear windows of a fixed length, cut to shorter ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.values.windows import Window

Model = TypeVar("Model", bound=nn.Module)


def fit_window(model: Model, extractor: Any) -> Model:
    """Cuts a network that hears windows of a fixed length to the window of an extractor, in place.

    Of Whisper's encoder and of the Audio Spectrogram Transformer the positions of the beginning are kept, and the
    configuration says how many: transformers saves and loads the network as any other. It is not the same network on
    silence that is no longer there: what it gives for a sound moves a little, and it takes a fraction of the time.

    Args:
        model: The network, before training; one without a window is returned as it is.
        extractor: Of its inputs: ``prepare_data(...).processor``.

    Returns:
        The model.

    Raises:
        ModelError: When the extractor's window is longer than the network's.

    Example:
        >>> from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification
        >>> from hf_transfer_kit.values.windows import with_window
        >>> config = WhisperConfig(d_model=8, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16)
        >>> short = with_window(WhisperFeatureExtractor(), 2.0)
        >>> fit_window(WhisperForAudioClassification(config), short).encoder.embed_positions
        Embedding(100, 8)
    """
    window = Window.of(extractor)
    network = plain_model(model)[0]
    own = window_frames(network)
    if window is None or own is None or own == window.frames:
        return model
    if window.frames > own:
        raise ModelError(
            f"{type(network).__name__} hears {own} frames, and its extractor gives {window.frames}, "
            f"{window.seconds:g} seconds. Give the extractor that was saved beside it, or max_seconds."
        )
    cut_window(network, window.frames)
    return model


def cut_window(network: nn.Module, frames: int | None) -> None:
    """Cuts a plain network to a window of so many frames, in place, where it has a longer one."""
    own = window_frames(network)
    if own is None or frames is None or own <= frames:
        return
    for part in _whispers(network):
        _keep_positions(part, frames // _stride(part))
        _tell_configs(network, "max_source_positions", part.max_source_positions)
    for part in _spectrogram_embeddings(network):
        _keep_patches(part, frames)
        _tell_configs(network, "max_length", frames)


def check_window(model: nn.Module, extractor: Any) -> None:
    """Refuses a network whose window is not that of its inputs.

    Raises:
        SettingsError: With both lengths.
    """
    window, own = Window.of(extractor), window_frames(plain_model(model)[0])
    if window is not None and own is not None and own != window.frames:
        raise SettingsError(
            f"{type(plain_model(model)[0]).__name__} hears windows of {own} frames, and the data was prepared in "
            f"windows of {window.frames}, {window.seconds:g} seconds. Cut the network to them: "
            "fit_window(model, data.processor)."
        )


def window_frames(network: nn.Module) -> int | None:
    """Frames of the window that a plain network hears; None where it hears sounds of any length."""
    for part in _whispers(network):
        return part.embed_positions.num_embeddings * _stride(part)
    for part in _spectrogram_embeddings(network):
        return int(part.config.max_length)
    return None


def _whispers(network: nn.Module) -> Iterator[Any]:
    """Encoders that add a table of positions to what convolutions over time give."""
    for module in network.modules():
        table = getattr(module, "embed_positions", None)
        of_sounds = any(isinstance(child, nn.Conv1d) for child in module.children())
        if of_sounds and isinstance(table, nn.Embedding) and hasattr(module, "max_source_positions"):
            yield module


def _spectrogram_embeddings(network: nn.Module) -> Iterator[Any]:
    """What adds positions to patches of a spectrogram, frequencies first."""
    for module in network.modules():
        table, config = getattr(module, "position_embeddings", None), getattr(module, "config", None)
        if isinstance(table, nn.Parameter) and hasattr(config, "time_stride") and hasattr(config, "max_length"):
            yield module


def _stride(encoder: nn.Module) -> int:
    """Frames that become one position."""
    return math.prod(child.stride[0] for child in encoder.children() if isinstance(child, nn.Conv1d))


def _keep_positions(encoder: Any, count: int) -> None:
    old = encoder.embed_positions
    # Made without a draw: the random state stays as it is.
    encoder.embed_positions = nn.Embedding(count, old.embedding_dim, _weight=old.weight[:count].detach().clone())
    encoder.embed_positions.requires_grad_(old.weight.requires_grad)
    encoder.max_source_positions = count
    encoder.config.max_source_positions = count


def _tell_configs(network: nn.Module, setting: str, value: int) -> None:
    """Writes a setting into the configurations of all that holds the network, and into those that they hold."""
    left = [module.config for module in network.modules() if isinstance(module, PreTrainedModel)]
    while left:
        config = left.pop()
        if setting in vars(config):
            setattr(config, setting, value)
        left += [held for held in vars(config).values() if isinstance(held, PreTrainedConfig)]


def _keep_patches(embeddings: Any, frames: int) -> None:
    config = embeddings.config
    count = (frames - config.patch_size) // config.time_stride + 1
    bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    table = cast(Tensor, embeddings.position_embeddings)  # (1, P, D)
    times = (config.max_length - config.patch_size) // config.time_stride + 1
    own = table.shape[1] - bands * times  # tokens that are no patch
    patches = table[:, own:].unflatten(1, (bands, times))[:, :, :count].flatten(1, 2)
    kept = torch.cat([table[:, :own], patches], dim=1).detach().clone()
    embeddings.position_embeddings = nn.Parameter(kept, requires_grad=table.requires_grad)
    config.max_length = frames
