"""Tiny random networks with joint towers, of every kind that transformers registers, and a tokenizer of a few words."""

from __future__ import annotations

import torch
import transformers as tf
from tiny import SIZES
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from hf_transfer_kit.backbones import JointTowers, joint_modality

WORDS = (
    "a the photo of picture close up painting drawing sound this is recording . - zebra horse wolf killer whale fox "
    "0 1 2 3 4 5 6 7 8 9"
)
_TEXT = {"vocab_size": 60, "max_position_embeddings": 24, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
TEXT = {**_TEXT, **SIZES}
VISION = {"image_size": 32, "patch_size": 8, **SIZES}
_AUDIO = {
    "spec_size": 32,
    "num_mel_bins": 8,
    "patch_size": 4,
    "patch_stride": (4, 4),
    "hidden_size": 32,
    "window_size": 4,
    "depths": [1, 1],
    "num_attention_heads": [1, 2],
    "patch_embeds_hidden_size": 16,
    "num_classes": 3,
    "enable_fusion": False,
}
_ALIGN = {"image_size": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 8, "num_hidden_layers": 2}

CONFIGS = {
    "clip": lambda: tf.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=6),
    "siglip": lambda: tf.SiglipConfig(text_config=TEXT, vision_config=VISION),
    "siglip2": lambda: tf.Siglip2Config(text_config=TEXT, vision_config={"num_patches": 16, "patch_size": 8, **SIZES}),
    "chinese_clip": lambda: tf.ChineseCLIPConfig(text_config=dict(TEXT), vision_config=VISION, projection_dim=6),
    "metaclip_2": lambda: tf.MetaClip2Config(text_config=TEXT, vision_config=VISION, projection_dim=6),
    "altclip": lambda: tf.AltCLIPConfig(text_config={**TEXT, "project_dim": 8}, vision_config=VISION, projection_dim=6),
    "align": lambda: tf.AlignConfig(text_config=TEXT, vision_config=_ALIGN, projection_dim=32),
    "clap": lambda: tf.ClapConfig(text_config=TEXT, audio_config=_AUDIO, projection_dim=6),
    "vision-text-dual-encoder": lambda: tf.VisionTextDualEncoderConfig(
        text_config=tf.BertConfig(**TEXT).to_dict(), vision_config=tf.ViTConfig(**VISION).to_dict(), projection_dim=6
    ),
    "aimv2": lambda: tf.Aimv2Config(text_config=TEXT, vision_config=VISION, projection_dim=6),
    "tipsv2": lambda: tf.Tipsv2Config(
        text_config=TEXT, vision_config={k: v for k, v in VISION.items() if k != "intermediate_size"}
    ),
    "blip": lambda: tf.BlipConfig(text_config=TEXT, vision_config=VISION, projection_dim=6, image_text_hidden_size=6),
}
LEFT_OUT = {
    "flava": "gives features of every position",
    "blip_2": "has no scale of cosines",
    "owlvit": "names boxes in pictures",
    "owlv2": "names boxes in pictures",
    "clipseg": "cuts pictures up",
    "groupvit": "cuts pictures up",
}


def joint(kind: str, seed: int = 0) -> tf.PreTrainedModel:
    torch.manual_seed(seed)
    model = tf.AutoModel.from_config(CONFIGS[kind]()).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:  # as they are drawn, some tiny networks say the same of everything
                weight.normal_(std=weight[0].numel() ** -0.5)
        for name in ("logit_scale", "logit_scale_a", "logit_scale_t"):
            if hasattr(model, name):
                getattr(model, name).fill_(1.5)
    return model


def tokenizer(**settings) -> tf.PreTrainedTokenizerFast:
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *dict.fromkeys(WORDS.split())]
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", **settings
    )


def towers(kind: str, **settings) -> JointTowers:
    model = joint(kind)
    return JointTowers(model, tokenizer(**settings), joint_modality(model.config))


def save(kind: str, folder) -> str:
    """A checkpoint with its tokenizer and processor."""
    joint(kind).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    size = {"height": 32, "width": 32}
    tf.ViTImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)
    return str(folder)


def inputs(kind: str, rows: int = 3) -> dict[str, torch.Tensor]:
    """What the tower beside the text tower reads."""
    generator = torch.Generator().manual_seed(1)
    if kind == "clap":
        return {"input_features": torch.randn(rows, 1, 100, 8, generator=generator)}
    if kind == "siglip2":
        return {
            "pixel_values": torch.randn(rows, 4, 192, generator=generator),
            "pixel_attention_mask": torch.ones(rows, 4, dtype=torch.long),
            "spatial_shapes": torch.tensor([[2, 2]] * rows),
        }
    return {"pixel_values": torch.randn(rows, 3, 32, 32, generator=generator)}
