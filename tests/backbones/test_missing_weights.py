"""What a checkpoint has no weights of begins as its class begins, never as the memory was."""

import pytest
import tiny
import torch
from hub.test_adapter_bases import ASKED

from hf_transfer_kit import load_model
from hf_transfer_kit.errors import ModelError, SettingsError

OPTIONS = [{}, {"weighted_layers": True}, *({"task_type": task} for task in ASKED["task_type"]), {"pooling": "mean"}]
LEFT_OUT = ("pooler", "mask_token", "masked_spec_embed")


def encoder_alone(kind, folder):
    """A checkpoint as pretraining without a head leaves it."""
    network, _ = tiny.TRANSFORMERS[kind]()
    body = network.base_model if kind != "whisper" else network
    weights = {name: value for name, value in body.state_dict().items() if not any(part in name for part in LEFT_OUT)}
    if kind == "whisper":  # its encoder has no class of its own
        weights = {name: value for name, value in weights.items() if name.startswith("encoder.")}
    if hasattr(body.config, "use_weighted_layer_sum"):
        body.config.use_weighted_layer_sum = False
    body.save_pretrained(folder, state_dict=weights)
    return folder


@pytest.mark.parametrize("kind", tiny.TRANSFORMERS)
def test_nothing_is_left_as_the_memory_was(kind, tmp_path, monkeypatch):
    place = encoder_alone(kind, tmp_path)
    empty_like = torch.empty_like
    monkeypatch.setattr(
        torch, "empty_like", lambda like, **options: empty_like(like, **options).fill_(float("nan"))
        if like.is_floating_point() else empty_like(like, **options),
    )  # fmt: skip
    loaded = 0
    for options in OPTIONS:
        try:
            states = [load_model(place, num_labels=3, seed=seed, **options).state_dict() for seed in (0, 0)]
        except (ModelError, SettingsError):
            continue  # no such network
        loaded += 1
        for name, value in states[0].items():
            assert torch.isfinite(value).all(), (options, name)
            assert torch.equal(value, states[1][name]), (options, name)
    assert loaded


def test_all_layers_weigh_the_same_at_first(tmp_path):
    found = load_model(encoder_alone("hubert", tmp_path), num_labels=3, weighted_layers=True).layer_weights
    torch.testing.assert_close(found.data, torch.full((3,), 1 / 3))


def test_a_pooler_without_weights_is_told_and_learns_with_an_adapter(tmp_path, said):
    from hf_transfer_kit.selection import make_strategy

    place = encoder_alone("bert", tmp_path)
    network = load_model(place, num_labels=3)
    assert f"{place} has no weights of bert.pooler.dense: what its classifier reads begins at random." in said()
    adapted = make_strategy("lora").prepare_model(network, seed=0)
    learns = {name for name, value in adapted.named_parameters() if value.requires_grad and "lora_" not in name}
    assert {name.rpartition(".modules_to_save")[0].removeprefix("base_model.model.") for name in learns} == {
        "bert.pooler.dense", "classifier",
    }  # fmt: skip
    load_model(place, num_labels=3, pooling="mean")
    assert "has no weights" not in said()
