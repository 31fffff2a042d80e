"""Tiny random models of every family the kit promises, built from configs; each entry gives a model and its inputs."""

from __future__ import annotations

import timm
import torch
import transformers as tf
from torch import nn

SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
TIMM = (
    "resnet18",
    "mobilenetv2_100",
    "efficientnet_b0",
    "vgg11",
    "inception_v3",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
)
_TIMM_ARGS = {
    "vgg11": {"mlp_ratio": 1 / 64},  # else 129 million parameters
    "vit_tiny_patch16_224": {"img_size": 32, "depth": 2},
    "swin_tiny_patch4_window7_224": {"img_size": 56, "embed_dim": 24, "depths": (1, 1, 2, 1)},
}
_TIMM_SIDE = {"inception_v3": 96, "swin_tiny_patch4_window7_224": 56}


def images(side: int = 32, rows: int = 2) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(0))}


def tokens(rows: int = 2, length: int = 6) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.arange(3, 3 + rows * length).reshape(rows, length),
        "attention_mask": torch.ones(rows, length, dtype=torch.long),
    }


def waves(rows: int = 2, length: int = 800) -> dict[str, torch.Tensor]:
    return {"input_values": torch.randn(rows, length, generator=torch.Generator().manual_seed(0))}


def timm_network(name: str, num_classes: int = 5) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A bare timm network; its input goes in by position."""
    model = timm.create_model(name, pretrained=False, num_classes=num_classes, **_TIMM_ARGS.get(name, {}))
    return model, images(_TIMM_SIDE.get(name, 32))


def timm_wrapped(name: str, num_labels: int = 5) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The same network as a transformers classifier."""
    config = tf.TimmWrapperConfig(
        architecture=name,
        num_labels=num_labels,
        model_args=_TIMM_ARGS.get(name) or None,
        do_pooling=True,
        pretrained_cfg={"num_classes": num_labels},
    )
    return tf.TimmWrapperForImageClassification(config), images(_TIMM_SIDE.get(name, 32))


def _bert(kind: str, **extra):
    return getattr(tf, f"{kind}Config")(
        vocab_size=40, max_position_embeddings=32, num_labels=3, pad_token_id=0, **SIZES, **extra
    )


def _speech(kind: str, **extra):
    return getattr(tf, f"{kind}Config")(
        vocab_size=12,
        num_feat_extract_layers=2,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        mask_time_length=2,
        num_labels=3,
        **SIZES,
        **extra,
    )


def _t5(**extra):
    return tf.T5Config(
        vocab_size=40,
        d_model=8,
        d_kv=4,
        d_ff=16,
        num_layers=2,
        num_heads=2,
        num_labels=3,
        pad_token_id=0,
        eos_token_id=14,
        decoder_start_token_id=0,
        **extra,
    )


def _whisper():
    return tf.WhisperConfig(
        vocab_size=40,
        d_model=8,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=50,
        max_target_positions=16,
        num_mel_bins=8,
        num_labels=3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        classifier_proj_size=8,
    )


def _features(rows: int = 2):
    return {"input_features": torch.randn(rows, 8, 100, generator=torch.Generator().manual_seed(0))}


def _gpt2():
    return tf.GPT2Config(
        vocab_size=40,
        n_positions=32,
        n_embd=8,
        n_layer=2,
        n_head=2,
        num_labels=3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _llama():
    return tf.LlamaConfig(
        vocab_size=40,
        max_position_embeddings=32,
        num_key_value_heads=2,
        num_labels=3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **SIZES,
    )


def _t5_inputs():
    inputs = tokens()
    inputs["input_ids"][:, -1] = 14
    return inputs


TRANSFORMERS = {
    "bert": lambda: (tf.BertForSequenceClassification(_bert("Bert")), tokens()),
    "distilbert": lambda: (
        tf.DistilBertForSequenceClassification(
            tf.DistilBertConfig(
                vocab_size=40, max_position_embeddings=32, dim=8, n_layers=2, n_heads=2, hidden_dim=16, num_labels=3
            )
        ),
        tokens(),
    ),
    "roberta": lambda: (tf.RobertaForSequenceClassification(_bert("Roberta")), tokens()),
    "deberta_v2": lambda: (
        tf.DebertaV2ForSequenceClassification(
            _bert(
                "DebertaV2",
                relative_attention=True,
                pos_att_type=["p2c", "c2p"],
                norm_rel_ebd="layer_norm",
                conv_kernel_size=3,
                position_biased_input=False,
                position_buckets=4,
                share_att_key=True,
            )
        ),
        tokens(),
    ),
    "vit": lambda: (
        tf.ViTForImageClassification(tf.ViTConfig(image_size=32, patch_size=8, num_labels=3, **SIZES)),
        images(),
    ),
    "swin": lambda: (
        tf.SwinForImageClassification(
            tf.SwinConfig(
                image_size=32, patch_size=4, embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4, num_labels=3
            )
        ),
        images(),
    ),
    "resnet": lambda: (
        tf.ResNetForImageClassification(
            tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic", num_labels=3)
        ),
        images(),
    ),
    "convnext": lambda: (
        tf.ConvNextForImageClassification(
            tf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 2], num_stages=2, num_labels=3)
        ),
        images(),
    ),
    "wav2vec2": lambda: (
        tf.Wav2Vec2ForSequenceClassification(_speech("Wav2Vec2", use_weighted_layer_sum=True)),
        waves(),
    ),
    "wav2vec2_stable": lambda: (
        tf.Wav2Vec2ForSequenceClassification(_speech("Wav2Vec2", do_stable_layer_norm=True, feat_extract_norm="layer")),
        waves(),
    ),
    "hubert": lambda: (tf.HubertForSequenceClassification(_speech("Hubert")), waves()),
    "whisper": lambda: (tf.WhisperForAudioClassification(_whisper()), _features()),
    "t5": lambda: (tf.T5ForSequenceClassification(_t5()), _t5_inputs()),
    "gpt2": lambda: (tf.GPT2ForSequenceClassification(_gpt2()), tokens()),
    "llama": lambda: (tf.LlamaForSequenceClassification(_llama()), tokens()),
    "bert_tokens": lambda: (tf.BertForTokenClassification(_bert("Bert")), tokens()),
}
"""Classifiers of each transformers family."""

GENERATORS = {
    "whisper_lm": lambda: (
        tf.WhisperForConditionalGeneration(_whisper()),
        {**_features(), "decoder_input_ids": torch.ones(2, 3, dtype=torch.long)},
    ),
    "t5_lm": lambda: (
        tf.T5ForConditionalGeneration(_t5()),
        {**tokens(), "decoder_input_ids": torch.ones(2, 3, dtype=torch.long)},
    ),
    "gpt2_lm": lambda: (tf.GPT2LMHeadModel(_gpt2()), tokens()),
    "llama_lm": lambda: (tf.LlamaForCausalLM(_llama()), tokens()),
}
"""Language models, with tied and untied heads."""


def sequential() -> tuple[nn.Module, torch.Tensor]:
    """A hand-written network in order."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    return model, images(8)["pixel_values"]


class Disordered(nn.Module):
    """Defined in another order than it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 8)
        self.middle = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.scale = nn.Parameter(torch.ones(8))
        self.inward = nn.Linear(4, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.out(self.middle(self.inward(x) * self.scale)))


def run(model: nn.Module, inputs) -> object:
    """One forward, whatever the kind of inputs."""
    if isinstance(inputs, torch.Tensor):
        return model(inputs)
    if not hasattr(model, "config"):
        return model(inputs["pixel_values"])
    return model(**inputs)


def classifiers() -> dict:
    """Name -> builder of (model, inputs) for every classifier of the list."""
    bare = {f"timm/{name}": (lambda name=name: timm_network(name)) for name in TIMM}
    wrapped = {f"wrapped/{name}": (lambda name=name: timm_wrapped(name)) for name in TIMM}
    return {**bare, **wrapped, **TRANSFORMERS}
