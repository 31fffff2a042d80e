"""A card's code for an adapter alone cuts its base to the window that the adapter was trained on."""

from dataclasses import replace

import pytest
import torch
import window_networks
from hub.sharing_cases import classified
from peft import LoraConfig, get_peft_model

from hf_transfer_kit import load_model
from hf_transfer_kit.hub.usage import adapter_snippet


@pytest.mark.parametrize("kind", window_networks.WITH_WINDOWS)
def test_an_adapter_is_put_on_a_base_with_its_window(kind, tmp_path, monkeypatch, capsys):
    place = window_networks.saved(kind, tmp_path / "base")
    layers = ["q_proj", "v_proj"]
    base = load_model(place, num_labels=3, max_seconds=1.0)
    get_peft_model(base, LoraConfig(target_modules=layers)).save_pretrained(tmp_path / "run" / "adapter")
    report = classified("audio", 3)
    prepared = {"prepared": {"window_seconds": 1.0}}
    report = replace(report, winner="lora", model_name=str(place), data={**report.data, **prepared})
    snippet = adapter_snippet(report, str(place))
    assert ", max_seconds=1)" in snippet
    assert "max_seconds" not in adapter_snippet(replace(report, data={**report.data, "prepared": {}}), str(place))
    monkeypatch.chdir(tmp_path / "run")
    names = {}
    exec(snippet, names)
    frames = {"whisper": (1, 8, 100), "audio-spectrogram-transformer": (1, 100, 16)}[kind]
    assert names["model"](torch.zeros(frames)).logits.shape == (1, 3)
