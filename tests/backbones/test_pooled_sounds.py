"""Classifiers on pooled positions of sounds: every speech network of transformers, windows cut, saved as measured."""

import numpy as np
import pytest
import torch
import window_networks
from features.test_solved_heads import SPEECH, speech_classifier
from transformers import AutoModelForAudioClassification

from hf_transfer_kit import fit_window, layer_groups, load_model, solve_head
from hf_transfer_kit.backbones import PooledSoundsConfig, PooledSoundsForAudioClassification, find_head
from hf_transfer_kit.backbones.pooled_sounds import encoder_of
from hf_transfer_kit.backbones.pooling import POOLINGS, pooled_positions, pooled_width
from hf_transfer_kit.backbones.windows import window_frames
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.values.windows import with_window


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", SPEECH)
def test_every_speech_network_is_classified_by_its_pooled_positions(kind, pooling, tmp_path):
    own, inputs = speech_classifier(kind)
    own.save_pretrained(tmp_path / "own")
    masked = kind == "wav2vec2"
    if masked:
        mask = torch.ones_like(inputs["input_values"], dtype=torch.long)
        mask[0, 250:] = 0
        inputs = {**inputs, "attention_mask": mask}
    model = load_model(tmp_path / "own", id2label={0: "a", 1: "b", 2: "c"}, pooling=pooling, seed=3)
    assert isinstance(model, PooledSoundsForAudioClassification)
    assert model.name_or_path == str(tmp_path / "own")
    with torch.no_grad():
        logits = model(**inputs).logits
        positions = encoder_of(own)(**inputs).last_hidden_state
        kept = encoder_of(own)._get_feature_vector_attention_mask(positions.shape[1], mask).bool() if masked else None
        expected = model.classifier(pooled_positions(positions, kept, how=pooling))
    assert torch.allclose(logits, expected, atol=1e-5)
    assert list(find_head(model)) == ["classifier"]
    body, theirs = ([group.num_parameters for group in layer_groups(each).body] for each in (model, own))
    assert body == theirs
    assert layer_groups(model).head.num_parameters == 3 * (pooled_width(16, pooling) + 1)

    model.save_pretrained(tmp_path / "saved")
    assert str(tmp_path) not in (tmp_path / "saved" / "config.json").read_text()
    again = AutoModelForAudioClassification.from_pretrained(tmp_path / "saved").eval()
    assert again.config.id2label == {0: "a", 1: "b", 2: "c"}
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, logits)
    other = load_model(tmp_path / "saved", num_labels=4, pooling="statistics" if pooling == "max" else "max")
    assert other(**inputs).logits.shape == (2, 4)
    solved = solve_head(model, [{**{k: v[0] for k, v in inputs.items()}, "labels": n} for n in (0, 1, 2)] * 3)
    assert solved.weight.shape == (3, pooled_width(16, pooling))


@pytest.mark.parametrize("kind", window_networks.WITH_WINDOWS)
def test_windows_are_cut_in_it_and_in_what_it_saves(kind, tmp_path):
    place = window_networks.saved(kind, tmp_path / "own", dtype=torch.float16)
    _, extractor = window_networks.made(kind)
    model = load_model(place, num_labels=3, pooling="statistics", max_seconds=1.0)
    inputs = with_window(extractor, 1.0)(np.zeros(9_000, np.float32), sampling_rate=16_000, return_tensors="pt")
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForAudioClassification.from_pretrained(tmp_path / "saved").eval()
    assert window_frames(again) == 100
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    # Cut once more after it was read back, when its configuration is another object than its encoder's.
    longer = load_model(place, num_labels=3, pooling="max", max_seconds=2.0)
    longer.save_pretrained(tmp_path / "longer")
    shorter = fit_window(
        AutoModelForAudioClassification.from_pretrained(tmp_path / "longer"), with_window(extractor, 1.0)
    )
    shorter.save_pretrained(tmp_path / "shorter")
    assert window_frames(AutoModelForAudioClassification.from_pretrained(tmp_path / "shorter")) == 100


@pytest.mark.parametrize("masked", [False, True])
def test_statistics_are_mean_and_spread_of_what_counts(masked):
    positions = torch.randn(3, 7, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(3, 7, dtype=torch.bool)
    if masked:
        mask[0, 3:] = mask[1, :] = False
    found = pooled_positions(positions, mask if masked else None, how="statistics")
    for row in range(3):
        kept = positions[row][mask[row]]
        wanted = torch.cat([kept.mean(0), kept.std(0, correction=0)]) if len(kept) else torch.zeros(8)
        assert torch.allclose(found[row], wanted.to(found), atol=1e-9)
    found.sum().backward()
    assert positions.grad.isfinite().all()
    still = torch.ones(2, 5, 4, requires_grad=True)
    pooled_positions(still, None, how="statistics").sum().backward()
    assert still.grad.isfinite().all()


def test_what_cannot_be_is_a_sentence(tmp_path):
    place = window_networks.saved("whisper", tmp_path)
    with pytest.raises(SettingsError, match="pooling='max' is of texts or sounds that a fresh head classifies"):
        load_model(place, pooling="max")
    with pytest.raises(SettingsError, match="reads the last layer, and weighted_layers all: leave one out"):
        load_model(place, num_labels=3, pooling="max", weighted_layers=True)
    with pytest.raises(ModelError, match="needs encoder_config"):
        PooledSoundsForAudioClassification(PooledSoundsConfig())
