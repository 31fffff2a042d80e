"""Networks that hear windows of one length, cut to shorter ones: every kind that transformers has, as it loads them."""

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
import window_networks
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from hf_transfer_kit import fit_window, layer_groups, load_model, merge_models
from hf_transfer_kit.backbones.windows import check_window, window_frames
from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.selection import make_strategy
from hf_transfer_kit.selection.finetuning.race import validate_strategies
from hf_transfer_kit.tuning.conservative.anchor import load_anchor
from hf_transfer_kit.values.windows import Window, with_window

KINDS = list(window_networks.WITH_WINDOWS)
SHORT = 100
"""Frames of a second."""


def spectra(kind, frames, rows=2):
    draw = torch.Generator().manual_seed(1)
    if kind == "whisper":
        return {"input_features": torch.randn(rows, 8, frames, generator=draw)}
    return {"input_values": torch.randn(rows, frames, 16, generator=draw)}


def beginning(inputs, frames):
    return {name: value[..., :frames] if value.shape[1] == 8 else value[:, :frames] for name, value in inputs.items()}


def embedded(kind, model, inputs):
    """Positions before the first layer, without what is no position: (B, P, D), and of spectra (B, bands, times, D)."""
    with torch.no_grad():
        if kind == "whisper":
            return model.encoder(**inputs, output_hidden_states=True).hidden_states[0]
        return model.audio_spectrogram_transformer.embeddings(**inputs)[:, 2:].unflatten(1, (3, -1))


def test_every_classifier_of_sounds_with_a_window_is_known():
    found = set()
    for kind in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES:
        names = tf.models.auto.feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING_NAMES[kind]
        for name in names if isinstance(names, (list, tuple)) else [names]:
            extractor = getattr(tf, name)()
            made = [
                next(iter(extractor(wave, sampling_rate=16_000, return_tensors="pt").values())).shape
                for wave in (np.zeros(8_000, np.float32), np.zeros(16_000, np.float32))
            ]
            assert (Window.of(extractor) is not None) == (made[0] == made[1]), kind
            found |= {kind} if made[0] == made[1] else set()
    assert found == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_beginning_of_a_long_window_is_embedded_as_a_short_one(kind):
    model, extractor = window_networks.made(kind)
    long = spectra(kind, window_frames(model))
    before = embedded(kind, model, long)
    state, trainable = torch.get_rng_state(), [p.requires_grad for p in model.parameters()]
    count = sum(1 for _ in model.parameters())
    assert fit_window(model, with_window(extractor, 0.7)) is model
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.requires_grad for p in model.parameters()] == trainable
    assert sum(1 for _ in model.parameters()) == count
    assert window_frames(model) == SHORT
    after = embedded(kind, model, beginning(long, SHORT))
    if kind == "whisper":  # the last position of the short one hears no frame behind its end
        assert after.shape[1] == SHORT // 2
        assert torch.allclose(after[:, :-1], before[:, : after.shape[1] - 1], atol=1e-6)
    else:
        assert torch.allclose(after, before[:, :, : after.shape[2]], atol=1e-6)
        assert after.shape[2] == (SHORT - 8) // 4 + 1
    again = {name: value.clone() for name, value in model.state_dict().items()}
    fit_window(model, with_window(extractor, 1.0))
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_loaded_by_transformers_alone(kind, tmp_path):
    model, extractor = window_networks.made(kind)
    short = with_window(extractor, 0.7)
    fit_window(model, short).save_pretrained(tmp_path)
    short.save_pretrained(tmp_path)
    loaded = tf.AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert Window.of(tf.AutoFeatureExtractor.from_pretrained(tmp_path)) == Window(SHORT, 100)
    inputs = tf.AutoFeatureExtractor.from_pretrained(tmp_path)(
        [torch.randn(9_000).numpy(), torch.randn(3_000).numpy()], sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    assert [group.name for group in layer_groups(loaded)] == [group.name for group in layer_groups(model)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_checkpoint_is_loaded_in_float32_and_cut(kind, dtype, tmp_path):
    place = window_networks.saved(kind, tmp_path, dtype=dtype)
    short = load_model(place, num_labels=4, max_seconds=1.2)
    assert short.dtype is torch.float32
    assert window_frames(short) == 2 * SHORT
    by_hand = fit_window(
        load_model(place, num_labels=4), with_window(tf.AutoFeatureExtractor.from_pretrained(place), 1.2)
    )
    assert all(
        torch.equal(a, b) for a, b in zip(short.state_dict().values(), by_hand.state_dict().values(), strict=True)
    )
    with pytest.raises(SettingsError, match=r"3 seconds of a sound, and 3\.5 were asked for"):
        load_model(place, num_labels=4, max_seconds=3.5)
    with pytest.raises(SettingsError, match="give a number above 0"):
        load_model(place, num_labels=4, max_seconds=0.0)


def test_a_network_of_any_length_has_no_window(tmp_path):
    model, _ = tiny.TRANSFORMERS["wav2vec2"]()
    model.save_pretrained(tmp_path)
    tf.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match="has no window of one length that could be cut"):
        load_model(tmp_path, num_labels=3, max_seconds=1.0)
    with pytest.raises(SettingsError, match="small_resnet has no window"):
        load_model("small_resnet", num_labels=3, max_seconds=1.0)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    fit_window(model, tf.WhisperFeatureExtractor())
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_windows_that_differ_are_told(kind, tmp_path):
    model, extractor = window_networks.made(kind)
    data = prepare_data(load_data(window_networks.sounds(tmp_path / "sounds")), extractor)
    with pytest.raises(SettingsError, match=r"hears windows of 300 frames, .* windows of 100, 1 seconds.*fit_window"):
        validate_strategies([make_strategy("full")], model, data)
    check_window(fit_window(model, data.processor), data.processor)
    with pytest.raises(ModelError, match="hears 100 frames, and its extractor gives 300, 3 seconds"):
        fit_window(model, extractor)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_as_it_came_is_a_base_and_an_anchor_of_short_ones(kind, tmp_path):
    place = window_networks.saved(kind, tmp_path / "long")
    short = [load_model(place, max_seconds=1.0) for _ in range(2)]
    for number, model in enumerate(short):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.01 * (number + 1)
    merged = merge_models(short, base=str(place), method="task_arithmetic")
    long = load_model(place)
    whole = merge_models(short, base=long, method="task_arithmetic")
    assert window_frames(long) == 3 * SHORT
    start = load_model(place, max_seconds=1.0)
    for name, value in merged.model.named_parameters():
        assert torch.allclose(value, start.get_parameter(name) + 0.015, atol=1e-5)
        assert torch.equal(value, whole.model.get_parameter(name))
    anchor = load_anchor(str(place), short[0]).weights
    body = {name for group in layer_groups(short[0]).body for name in group.parameters}
    assert body <= set(anchor)


WEIGHTED = ["wav2vec2", "hubert", "whisper"]


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_head_on_all_layers_learns_which(name, tmp_path):
    model, inputs = tiny.TRANSFORMERS[name]()
    model.config.use_weighted_layer_sum = False
    for setting in ("layerdrop", "encoder_layerdrop"):
        if hasattr(model.config, setting):
            setattr(model.config, setting, 0.9)  # a layer left out would be no state to weigh
    model.save_pretrained(tmp_path)
    weighted = load_model(tmp_path, num_labels=3, weighted_layers=True).train()
    weights = weighted.layer_weights
    assert len(weights) == weighted.config.num_hidden_layers + 1
    for _ in range(5):
        weighted(**inputs, labels=torch.arange(len(next(iter(inputs.values())))) % 3).loss.backward()
    assert weights.grad.abs().max() > 0
    assert "layer_weights" in layer_groups(weighted).head.parameters
    assert load_model(tmp_path, num_labels=3).config.use_weighted_layer_sum is False


def test_a_head_of_one_layer_has_no_weights(tmp_path):
    place = window_networks.saved("audio-spectrogram-transformer", tmp_path / "spectra")
    model, _ = tiny.TRANSFORMERS["wav2vec2"]()
    model.save_pretrained(tmp_path / "waves")
    for given in ({"name_or_path": place}, {"name_or_path": "small_resnet"}):
        with pytest.raises(SettingsError, match="reads one layer"):
            load_model(**given, num_labels=3, weighted_layers=True)
    with pytest.raises(SettingsError, match="reads one layer"):
        load_model(tmp_path / "waves", num_labels=3, weighted_layers=True, task_type="ctc")
