"""Networks that see or hear for a language model: their layers lie before what reads them, whatever was made up."""

from itertools import pairwise

import pytest
import torch
import transformers as tf
from torch import nn
from transformers import AutoConfig

from hf_transfer_kit import FreezeLayers, layer_groups

TEXT = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
EYES = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip


def _llava():
    config = tf.LlavaConfig(
        text_config=AutoConfig.for_model("llama", **TEXT), vision_config=AutoConfig.for_model("clip_vision_model", **EYES),
        image_token_index=7,
    )  # fmt: skip
    ids = torch.tensor([[10, 7, 7, 7, 7, 11]])
    return tf.LlavaForConditionalGeneration(config), {"input_ids": ids, "pixel_values": torch.randn(1, 3, 16, 16)}


def _idefics():
    config = tf.Idefics3Config(
        text_config=AutoConfig.for_model("llama", **TEXT), vision_config={**EYES, "image_size": 16}, image_token_id=7,
        scale_factor=1,
    )  # fmt: skip
    ids = torch.tensor([[10, 7, 7, 7, 7, 11]])
    return tf.Idefics3ForConditionalGeneration(config), {
        "input_ids": ids,
        "pixel_values": torch.randn(1, 1, 3, 16, 16),
    }


def _qwen():
    config = tf.Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}},
        vision_config={"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4},
        image_token_id=7, video_token_id=8, vision_start_token_id=5, vision_end_token_id=6,
    )  # fmt: skip
    patches = torch.randn(16, 3 * 2 * 4 * 4)
    ids = torch.tensor([[10, 7, 7, 7, 7, 11]])
    return tf.Qwen2VLForConditionalGeneration(config), {
        "input_ids": ids, "pixel_values": patches, "image_grid_thw": torch.tensor([[1, 4, 4]]),
        "mm_token_type_ids": ids.eq(7).long(),
    }  # fmt: skip


def _hearing():
    """Whose inputs are not made up: it is told, and placed by a forward of its own."""
    config = tf.Qwen2AudioConfig(
        text_config=AutoConfig.for_model("llama", **TEXT),
        audio_config={
            "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "num_mel_bins": 8,
            "max_source_positions": 20,
        },
        audio_token_index=7,
    )  # fmt: skip
    return tf.Qwen2AudioForConditionalGeneration(config), None


MODELS = {"llava": _llava, "idefics": _idefics, "qwen2_vl": _qwen, "qwen2_audio": _hearing}


def _first_uses(model, inputs):
    order = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: order.append(name))
        for name, module in model.named_modules()
        if not any(True for _ in module.children()) and any(True for _ in module.parameters())
    ]
    with torch.no_grad():
        model.eval()(**inputs)
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(order))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "qwen2_audio"])
def test_depth_never_falls_along_a_forward_with_a_picture(name, said):
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    depth = {n: i for i, group in enumerate(layer_groups(model)) for n in group.parameters}
    assert "leave out" not in said()
    used = [f"{module}.weight" for module in _first_uses(model, inputs)]
    used = [parameter for parameter in used if parameter in depth]
    assert any("vis" in parameter for parameter in used)
    assert not [(a, b) for a, b in pairwise(used) if depth[b] < depth[a]]


@pytest.mark.parametrize("name", MODELS)
def test_eyes_and_ears_come_before_the_layers_that_read_them(name, said):
    torch.manual_seed(0)
    model, _ = MODELS[name]()
    groups = layer_groups(model)
    depth = {n: i for i, group in enumerate(groups) for n in group.parameters}
    assert set(depth) == {n for n, _ in model.named_parameters()}
    senses = [
        d for n, d in depth.items() if any(part in n for part in ("vision", "visual", "audio_tower", "connector"))
    ]
    senses += [d for n, d in depth.items() if "projector" in n]
    layers = [d for n, d in depth.items() if any(f".{part}.layers." in n for part in ("language_model", "text_model"))]
    assert max(senses) < min(layers)
    assert len(set(senses)) >= 3  # a list of blocks is cut
    assert ("leave out" in said()) is (name == "qwen2_audio")


def test_what_was_left_out_is_placed_by_the_inputs_that_are_given(said):
    model, inputs = _llava()
    text = {"input_ids": torch.tensor([[10, 11, 12]])}
    assert layer_groups(model, example_inputs=text)[0].name == "vision_tower.embeddings"
    assert "leave out model.vision_tower, taken to come before all else" in said()
    told = layer_groups(model, example_inputs=inputs)
    assert [group.name for group in told] == [group.name for group in layer_groups(_llava()[0])]


def test_layers_that_lead_nowhere_stay_where_they_are(said):
    class Further(nn.Module):
        """As language models that learn to predict further words, with layers that its forward never runs."""

        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(10, 4)
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
            self.further = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
            self.out = nn.Linear(4, 10)

        def forward(self, input_ids):
            x = self.words(input_ids)
            for layer in self.layers:
                x = layer(x)
            return self.out(x)

    groups = layer_groups(Further())
    depth = {n: i for i, group in enumerate(groups) for n in group.parameters}
    assert depth["words.weight"] == 0
    assert depth["layers.2.weight"] <= depth["further.0.weight"] <= depth["out.weight"]
    assert "leave out" not in said()


def test_the_first_layers_of_a_network_with_eyes_are_frozen_alone():
    torch.manual_seed(0)
    model, _ = _qwen()
    FreezeLayers(first=3, quiet=True).apply(model)
    still = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert any(n.startswith("model.visual") for n in still)
    assert not any("language_model.layers" in n for n in still)
