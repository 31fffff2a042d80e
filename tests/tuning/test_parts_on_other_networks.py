"""Freezing, thawing, L2-SP and rates by depth on networks that are no plain classifiers, through Trainer."""

import pytest
import tiny
import torch
import transformers as tf
from torch import nn
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments

from hf_transfer_kit import L2SP, FreezeLayers, GradualUnfreezing, layer_groups, layerwise_optimizer

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
TOKENS = torch.arange(5, 13)


class ThreeLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3), nn.Linear(8, 3)

    def forward(self, x, labels=None):
        logits = self.three(self.two(self.one(x).relu()).relu().mean((2, 3)))
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return {"loss": loss, "logits": logits} if loss is not None else {"logits": logits}


def _clip():
    text = {**SIZES, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**SIZES, "image_size": 32, "patch_size": 8}
    model = tf.CLIPModel(tf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    texts = [torch.cat([TOKENS[:7] + i, torch.tensor([2])]) for i in range(8)]
    return model, [{"input_ids": t, "pixel_values": torch.rand(3, 32, 32), "return_loss": True} for t in texts]


def _segmenter():
    config = tf.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, num_labels=3,
    )  # fmt: skip
    mask = torch.randint(0, 3, (32, 32))
    rows = [{"pixel_values": torch.rand(3, 32, 32), "labels": mask} for _ in range(8)]
    return tf.SegformerForSemanticSegmentation(config), rows


def _detector():
    config = tf.YolosConfig(
        **SIZES,
        image_size=[32, 32],
        patch_size=8,
        num_detection_tokens=3,
        num_labels=3,
        use_mid_position_embeddings=False,
    )
    target = {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.3, 0.3]])}
    return tf.YolosForObjectDetection(config), [{"pixel_values": torch.rand(3, 32, 32), "labels": target}] * 8


def _language_model(name):
    def build():
        model, _ = tiny.GENERATORS[name]()
        return model, [{"input_ids": TOKENS + i, "labels": TOKENS + i} for i in range(8)]

    return build


def _whisper():
    model, inputs = tiny.GENERATORS["whisper_lm"]()
    return model, [{"input_features": inputs["input_features"][0], "labels": TOKENS} for _ in range(8)]


NETWORKS = {
    "three_layers": lambda: (ThreeLayers(), [{"x": torch.rand(3, 16, 16), "labels": i % 3} for i in range(8)]),
    "clip": _clip,
    "causal": _language_model("gpt2_lm"),
    "t5": _language_model("t5_lm"),
    "whisper": _whisper,
    "segmentation": _segmenter,
    "detection": _detector,
}


def _collate(rows):
    made = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key == "return_loss":
            made[key] = values[0]
        else:
            made[key] = values if isinstance(values[0], dict) else torch.stack([torch.as_tensor(v) for v in values])
    return made


def _train(model, rows, tmp_path, steps=4, make=None, **options):
    seq2seq = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    args = (Seq2SeqTrainingArguments if seq2seq else TrainingArguments)(
        tmp_path, max_steps=steps, per_device_train_batch_size=2, learning_rate=0.05, optim="sgd", report_to=[],
        disable_tqdm=True, use_cpu=True, save_strategy="no", remove_unused_columns=False, lr_scheduler_type="constant",
        logging_steps=1, max_grad_norm=0.0,
    )  # fmt: skip
    kind = Seq2SeqTrainer if seq2seq and make is None else Trainer
    if make:
        options["optimizer_cls_and_kwargs"] = make(model, args)
    trainer = kind(model, args, train_dataset=rows, data_collator=_collate, **options)
    trainer.train()
    return trainer


@pytest.fixture(params=NETWORKS)
def case(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]()


def _moved(model, before):
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def test_frozen_groups_stay_bit_identical_and_a_schedule_thaws_the_rest(case, tmp_path):
    model, rows = case
    groups = layer_groups(model)
    before = {n: p.clone() for n, p in model.named_parameters()}
    schedule = GradualUnfreezing(every="1 steps", groups_per_stage=len(groups), quiet=True)
    _train(model, rows, tmp_path, callbacks=[FreezeLayers(first=1, quiet=True), schedule])
    moved = _moved(model, before)
    assert not moved & set(groups[0].parameters)
    assert moved & {n for group in groups[1:] for n in group.parameters}


def test_rates_by_depth_reach_every_group(case, tmp_path):
    model, rows = case
    before = {n: p.clone() for n, p in model.named_parameters()}

    def make(model, args):
        return layerwise_optimizer(model, args, first_layers=0.0, num_first=1)

    trainer = _train(model, rows, tmp_path, steps=2, make=make)
    groups = layer_groups(model)
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    assert not _moved(model, before) & set(groups[0].parameters)


def test_l2sp_pulls_by_its_formula(case, tmp_path):
    model, rows = case
    start = {n: p.clone() for n, p in model.named_parameters()}
    trainer = _train(model, rows, tmp_path, steps=3, callbacks=[L2SP(alpha=0.5, beta=0.0)])
    body = {n for group in layer_groups(model).body for n in group.parameters}
    distance = sum((p.detach() - start[n]).square().sum().item() for n, p in model.named_parameters() if n in body)
    logged = [entry["l2sp_penalty"] for entry in trainer.state.log_history if "l2sp_penalty" in entry]
    assert logged[-1] == pytest.approx(0.25 * distance, rel=1e-3)
    assert distance > 0
