"""Networks as people bring them: order as executed, wrapped, several final layers; each kind by a generated family."""

import pytest
import timm
import tiny
import torch
import torchvision
import transformers as tf
from torch import nn

from hf_transfer_kit import FreezeLayers, layer_groups, replace_head
from hf_transfer_kit.backbones.feature_maps import body_modules
from hf_transfer_kit.backbones.heads import last_layers

TOKENS = {"vocab_size": 40, "num_labels": 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {**tiny.SIZES, "num_hidden_layers": 3}
BART = {
    "d_model": 8, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 32,
}  # fmt: skip
OUT_OF_ORDER = {
    "opt": lambda: tf.OPTForSequenceClassification(
        tf.OPTConfig(**TOKENS, **SIZES, word_embed_proj_dim=8, ffn_dim=16, max_position_embeddings=32)
    ),
    "mpnet": lambda: tf.MPNetForSequenceClassification(tf.MPNetConfig(**TOKENS, **SIZES)),
    "bart": lambda: tf.BartForSequenceClassification(tf.BartConfig(**TOKENS, **BART)),
    "flaubert": lambda: tf.FlaubertForSequenceClassification(
        tf.FlaubertConfig(vocab_size=40, emb_dim=8, n_layers=3, n_heads=2, num_labels=3, max_position_embeddings=32)
    ),
    "pvt": lambda: tf.PvtForImageClassification(
        tf.PvtConfig(
            image_size=64, depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], num_labels=3
        )
    ),
    "nomic_bert": lambda: tf.NomicBertForSequenceClassification(
        tf.NomicBertConfig(vocab_size=40, num_labels=3, **SIZES)
    ),
    "deit with teacher": lambda: tf.DeiTForImageClassificationWithTeacher(
        tf.DeiTConfig(image_size=32, patch_size=8, num_labels=3, **SIZES)
    ),
    "segformer": lambda: tf.SegformerForSemanticSegmentation(
        tf.SegformerConfig(
            depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8
        )
    ),
    "timm repvit": lambda: timm.create_model("repvit_m0_9", num_classes=3),
    "torchvision googlenet": lambda: torchvision.models.googlenet(num_classes=3, init_weights=False),
    "torchvision squeezenet": lambda: torchvision.models.squeezenet1_1(num_classes=3),
}


def depth_of(groups):
    return {name: depth for depth, group in enumerate(groups) for name in group.parameters}


class Order:
    """Parameters in the order in which the leaf modules that hold them are called."""

    def __init__(self, model):
        self.names = {}
        for prefix, module in model.named_modules():
            if not list(module.children()):
                own = [f"{prefix}.{n}".lstrip(".") for n, _ in module.named_parameters(recurse=False)]
                module.register_forward_pre_hook(lambda *_, own=own: self.names.update(dict.fromkeys(own)))


@pytest.mark.parametrize("name", OUT_OF_ORDER)
def test_depth_follows_execution_and_every_final_layer_is_replaced(name):
    torch.manual_seed(0)
    model = OUT_OF_ORDER[name]().eval()
    seen, state = Order(model), torch.get_rng_state()
    groups = layer_groups(model)
    assert torch.equal(state, torch.get_rng_state())
    assert sorted(depth_of(groups)) == sorted(n for n, _ in model.named_parameters())
    assert groups.head is groups[-1]
    image = {"pixel_values": torch.randn(1, 3, 64, 64)}
    inputs = {**tiny.tokens(), "input_ids": tiny.tokens()["input_ids"].index_fill(1, torch.tensor([5]), 2)}
    size = getattr(getattr(model, "config", None), "image_size", 64)
    batch = inputs if getattr(model, "main_input_name", "") == "input_ids" else image
    if size == 32:
        batch = tiny.images()

    def forward():
        return tiny.run(model, batch) if hasattr(model, "config") else model(batch["pixel_values"])

    seen.names.clear()
    with torch.no_grad():
        forward()
    depths = [depth_of(groups)[n] for n in seen.names if n in depth_of(groups)]
    assert depths == sorted(depths)
    body = {n: p.clone() for group in groups.body for n, p in group.parameters.items()}
    replace_head(model, 7, seed=0)
    with torch.no_grad():
        output = forward()
    logits = output.logits if hasattr(output, "logits") else output
    assert 7 in (logits.shape[1], logits.shape[-1])
    assert all(torch.equal(model.get_parameter(n), value) for n, value in body.items())


class Linked(nn.Module):
    """A body of timm and a linear layer."""

    def __init__(self, name):
        super().__init__()
        self.head = nn.Linear(timm.create_model(name, num_classes=0).num_features, 5)
        self.body = timm.create_model(name, num_classes=0)

    def forward(self, x):
        return self.head(self.body(x))


def test_a_body_with_a_linear_layer_defined_before_it():
    model = Linked("resnet18")
    groups = layer_groups(model)
    assert list(groups.head.parameters) == ["head.weight", "head.bias"]
    assert len(groups) == 6
    FreezeLayers(first=3, quiet=True).apply(model)
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(n.startswith(("body.conv1", "body.bn1", "body.layer1", "body.layer2")) for n in frozen)


def test_heads_of_training_alone_are_replaced_with_the_main_one():
    model = torchvision.models.googlenet(num_classes=3, init_weights=False)
    assert sorted(last_layers(model)) == ["aux1.fc2", "aux2.fc2", "fc"]
    replace_head(model, 7, seed=0)
    assert {model.aux1.fc2.out_features, model.aux2.fc2.out_features, model.fc.out_features} == {7}


def test_towers_that_read_nothing_of_each_other_lie_side_by_side():
    text = {**SIZES, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**SIZES, "image_size": 32, "patch_size": 8}
    model = tf.CLIPModel(tf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    first = layer_groups(model)[0].parameters
    assert any(n.startswith("vision_model.embeddings") for n in first)
    assert any(n.startswith("text_model.embeddings") for n in first)
    assert layer_groups(model).head is None


class Unheard(nn.Module):
    """A pooler that is computed and read by nobody, as in a SentenceTransformer."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.pooler = nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 6)

    def forward(self, x):
        hidden = self.two(self.one(x).relu())
        self.pooler(hidden)
        return {"embedding": hidden}


def test_what_enters_no_output_is_no_group_and_no_feature_map():
    model = Unheard()
    assert [(group.name, len(group.parameters)) for group in layer_groups(model)] == [("one", 2), ("two", 4)]
    assert body_modules(model, 1) == {"two": ["two"]}
