"""The code of a card puts an adapter on a base that was made as the one it was trained on, whatever ``load_model`` was told."""

import inspect

import pytest
import tiny
import torch
import window_networks
from hub.sharing_cases import classified

from hf_transfer_kit import load_model
from hf_transfer_kit.backbones.loading import TEXT_POOLINGS
from hf_transfer_kit.errors import TransferKitError
from hf_transfer_kit.hub import save_results
from hf_transfer_kit.hub.adapter_alone import stage_adapter
from hf_transfer_kit.selection import make_strategy

CLASSES = 4
ASKED = {
    "pooling": [name for name in TEXT_POOLINGS if name != "auto"],
    "weighted_layers": [True],
    "max_seconds": [1.0],
    "task_type": ["token_classification", "ctc"],
}
"""What makes another network of the same checkpoint, with values of each."""
SAME = {
    "name_or_path", "num_labels", "id2label", "modality", "pretrained", "trust_remote_code", "revision", "seed", "dtype",
    "trained_head",
}  # fmt: skip
"""What the card tells otherwise, or an adapter's file holds: the head."""
NETWORKS = [*tiny.TRANSFORMERS, *window_networks.WITH_WINDOWS]


def saved(kind, folder):
    """A checkpoint, its inputs of half a second or a few tokens, and what it reads."""
    if kind in window_networks.WITH_WINDOWS:
        window_networks.saved(kind, folder)
        frames = {"whisper": (2, 8, 100), "audio-spectrogram-transformer": (2, 100, 16)}[kind]
        name = "input_features" if kind == "whisper" else "input_values"
        return {name: torch.randn(frames, generator=torch.Generator().manual_seed(0))}, "audio"
    torch.manual_seed(0)
    network, inputs = tiny.TRANSFORMERS[kind]()
    if hasattr(network.config, "use_weighted_layer_sum"):
        network.config.use_weighted_layer_sum = False
    network.save_pretrained(folder)
    return inputs, {"input_ids": "text", "pixel_values": "image"}.get(next(iter(inputs)), "audio")


def trained(base):
    """With an adapter whose numbers are not those it began with."""
    model = make_strategy("lora:r=2").prepare_model(base, seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


def options_of(kind):
    """Nothing, and each option: all its values for two networks, the first two for the others."""
    yield {}
    for option, values in ASKED.items():
        for value in values if kind in ("bert", "hubert") else values[:2]:
            yield {option: value}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_cards_code_gives_the_logits_of_the_run(kind, tmp_path, monkeypatch):
    inputs, modality = saved(kind, tmp_path / "base")
    tried = 0
    for number, options in enumerate(options_of(kind)):
        try:
            base = load_model(tmp_path / "base", num_labels=CLASSES, seed=7, modality=modality, **options)
            with torch.no_grad():
                base(**inputs)
        except (TransferKitError, ValueError, RuntimeError):
            continue  # no such network
        tried += 1
        model = trained(base)
        with torch.no_grad():
            said = model(**inputs).logits
        report = classified(modality, CLASSES, winner="lora:r=2", model_name="base")
        if "max_seconds" in options:
            report.data["prepared"] = {"window_seconds": options["max_seconds"]}
        run = tmp_path / str(number)
        save_results(run, report, model, None, {}, base_model="me/base")
        alone = tmp_path / f"alone{number}"
        alone.mkdir()
        stage_adapter(run / "adapter", alone)
        for folder in (run, alone):
            code = (folder / "README.md").read_text().partition("```python\nfrom hf_transfer_kit import load_model")
            snippet = "from hf_transfer_kit import load_model" + code[2].partition("```")[0]
            snippet = snippet.replace("me/base", str(tmp_path / "base"))
            monkeypatch.chdir(folder)
            names = {}
            exec(snippet, names)
            with torch.no_grad():
                found = names["model"](**inputs).logits
            assert torch.allclose(found, said, rtol=1e-5, atol=1e-6), (options, folder.name)
    assert tried


def test_every_option_that_makes_another_network_is_tried():
    assert set(inspect.signature(load_model).parameters) == SAME | ASKED.keys()
