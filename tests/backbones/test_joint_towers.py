"""Every network with joint towers that transformers registers: class names are its classifier, number for number."""

import logging
from pathlib import Path

import pytest
import tiny
import torch
import transformers as tf
from joint_networks import CONFIGS, LEFT_OUT, inputs, joint, save, tokenizer, towers

from hf_transfer_kit.backbones import (
    TEMPLATES,
    JointTowers,
    TowerForClassification,
    class_embeddings,
    joint_modality,
    layer_groups,
    load_model,
    load_tower_classifier,
    load_towers,
    modality_of,
    replace_head,
)
from hf_transfer_kit.backbones.joint_towers import joint_scale
from hf_transfer_kit.backbones.tower_classifier import tower_classifier
from hf_transfer_kit.errors import DataError, ModelError, SettingsError

NAMES = ["zebra", "killer_whale", "wolf", "fox"]
IDS = dict(enumerate(NAMES))


def test_every_kind_that_transformers_has_is_tried_or_left_out_for_a_reason():
    found = set()
    for file in Path(tf.__file__).parent.glob("models/*/modeling_*.py"):
        text = file.read_text()
        if "def get_text_features" in text and any(f"def get_{what}_features" in text for what in ("image", "audio")):
            found.add(file.parent.name)
    assert found == {kind.replace("-", "_") for kind in CONFIGS} | set(LEFT_OUT)


def own_logits(model, kind, prompts):
    """What the network itself says of these prompts."""
    tokens = tokenizer()(prompts, padding=True, return_tensors="pt")
    if kind.startswith("siglip"):
        tokens = tokenizer()(prompts, padding="max_length", max_length=24, return_tensors="pt")
    tokens = {name: value for name, value in tokens.items() if name != "token_type_ids"}
    with torch.no_grad():
        output = model(**tokens, **inputs(kind))
    logits = output.logits_per_audio if kind == "clap" else output.logits_per_image
    bias = getattr(model, "logit_bias", None)
    return logits if bias is None else logits - bias


@pytest.mark.parametrize("kind", CONFIGS)
def test_names_as_a_head_are_the_networks_own_zero_shot_classifier(kind, tmp_path):
    model = joint(kind)
    reads = joint_modality(model.config)
    template = "a photo of a {} ."
    expected = own_logits(model, kind, [template.format(name.replace("_", " ")) for name in NAMES])
    rows = class_embeddings(NAMES, JointTowers(model, tokenizer(), reads), templates=[template])
    assert torch.allclose(rows.norm(dim=1), torch.full((4,), joint_scale(model, reads), dtype=torch.float64))
    whole = sum(p.numel() for p in model.parameters())
    classifier = replace_head(tower_classifier(model, reads, seed=0), id2label=IDS, init=rows)
    with torch.no_grad():
        logits = classifier(**inputs(kind)).logits
        assert torch.allclose(logits, expected, atol=1e-4)
        assert expected.std() > 1e-3  # the rows differ
        classifier.save_pretrained(tmp_path)
        auto = tf.AutoModelForAudioClassification if reads == "audio" else tf.AutoModelForImageClassification
        again = auto.from_pretrained(tmp_path).eval()
        assert torch.equal(again(**inputs(kind)).logits, logits)
    assert again.config.id2label == IDS
    assert modality_of(again) == reads
    assert not any("text" in name or "logit" in name for name, _ in again.named_parameters())
    assert sum(p.numel() for p in again.parameters()) < whole
    groups = layer_groups(again)
    assert groups.head.name == "classifier"
    assert len(groups) >= 4
    again.train()(**inputs(kind), labels=torch.tensor([0, 1, 2])).loss.backward()
    waiting = [name for name, p in again.named_parameters() if p.grad is None and "mask_token" not in name]
    assert not waiting  # under DDP they would stop the run


def test_templates_are_averaged_at_length_one_and_names_lose_their_underscores():
    pair = towers("clip")
    templates = ("a photo of a {} .", "this is the {} .")
    each = [class_embeddings(NAMES, pair, templates=[one]) / pair.scale for one in templates]
    mean = torch.stack(each).mean(dim=0)
    expected = pair.scale * mean / mean.norm(dim=1, keepdim=True)
    assert torch.allclose(class_embeddings(NAMES, pair, templates=templates), expected, atol=1e-6)
    assert torch.equal(class_embeddings(["killer_whale"], pair), class_embeddings(["killer whale"], pair))
    one_by_one = class_embeddings(NAMES, pair, batch_size=1)
    assert torch.allclose(class_embeddings(NAMES, pair), one_by_one, atol=1e-5)
    assert all("{}" in template for known in TEMPLATES.values() for template in known)


def test_a_text_tower_that_reads_its_last_position_gets_texts_of_full_length():
    pair = towers("siglip")
    alone = class_embeddings(["fox"], pair, templates=["{}"])
    padded = tokenizer()(["fox"], padding="max_length", max_length=24, return_tensors="pt")
    with torch.no_grad():
        found = pair.model.get_text_features(padded["input_ids"], padded["attention_mask"]).pooler_output.double()
    assert torch.allclose(alone, pair.scale * torch.nn.functional.normalize(found), atol=1e-5)


def test_prompts_that_are_too_long_are_cut_and_told(caplog):
    pair = towers("clip")
    with caplog.at_level(logging.WARNING, "hf_transfer_kit"):
        rows = class_embeddings(["zebra", "wolf"], pair, templates=["{} " + "of the photo " * 10])
    assert rows.isfinite().all()
    assert "2 of 2 prompts are longer than the 24 tokens" in caplog.text


@pytest.mark.parametrize(
    ("names", "templates", "error", "message"),
    [
        (["fox"], ["a photo"], SettingsError, r"The template 'a photo' has no \{\}"),
        (["fox"], [], SettingsError, "There is no template"),
        ([], None, DataError, "at least one"),
        (["fox", " _ "], None, DataError, "none that is empty"),
        (["okapi", "quagga"], ["a {}"], ModelError, "same tokens of 'a okapi' and 'a quagga'"),
    ],
)
def test_what_cannot_be_embedded_is_a_sentence(names, templates, error, message):
    with pytest.raises(error, match=message):
        class_embeddings(names, towers("clip"), templates=templates)


def test_a_tokenizer_of_another_network_is_told():
    pair = towers("clip")
    foreign = JointTowers(pair.model, tokenizer(), "image")
    foreign.tokenizer.add_tokens([f"word{number}" for number in range(60)])
    with pytest.raises(ModelError, match="does not read what its tokenizer gives"):
        class_embeddings(["word59"], foreign)


def test_checkpoints_are_loaded_with_their_tokenizer_or_refused(tmp_path):
    path = save("clip", tmp_path / "clip")
    pair = load_towers(path)
    assert pair.reads == "image"
    assert torch.allclose(class_embeddings(NAMES, pair), class_embeddings(NAMES, towers("clip")))
    first, second = (load_tower_classifier(path, id2label=IDS, seed=3) for _ in range(2))
    assert torch.equal(first.classifier.weight, second.classifier.weight)
    fresh = load_tower_classifier(path, id2label=IDS, pretrained=False, seed=3)
    assert not torch.equal(fresh.tower.visual_projection.weight, first.tower.visual_projection.weight)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "clip" / file).unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        class_embeddings(NAMES, load_towers(path))
    tiny.TRANSFORMERS["bert"]()[0].save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match="'bert' model, which has no text tower beside one for images"):
        load_towers(tmp_path / "bert")
    with pytest.raises(ModelError, match="get_image_features of FlavaModel gives"):
        tower_classifier(tf.FlavaModel(tf.FlavaConfig()), "image")


def test_joint_networks_without_a_classifier_in_transformers_load_as_one(tmp_path):
    for kind, reads in (("vision-text-dual-encoder", "image"), ("clap", "audio")):
        joint(kind).save_pretrained(tmp_path / kind)
        model = load_model(tmp_path / kind, id2label=IDS, seed=1)
        assert isinstance(model, TowerForClassification)
        assert modality_of(model) == reads
        model.save_pretrained(tmp_path / f"{kind}_again")
        assert str(tmp_path) not in (tmp_path / f"{kind}_again" / "config.json").read_text()
        again = load_model(tmp_path / f"{kind}_again")
        with torch.no_grad():
            assert torch.equal(again(**inputs(kind)).logits, model(**inputs(kind)).logits)
    with pytest.raises(ModelError, match="without a classifier for text"):
        load_model(tmp_path / "clap", id2label=IDS, modality="text")


def test_rows_begin_a_head_and_rows_that_do_not_fit_are_sentences():
    model, given = tiny.TRANSFORMERS["vit"]()
    rows = torch.randn(4, 8)
    replace_head(model, id2label=IDS, init=rows)
    assert torch.equal(model.classifier.weight, rows)
    assert torch.equal(model.classifier.bias, torch.zeros(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for wrong, message in (
        (torch.randn(3, 8), r"Rows of shape \(3, 8\).*give 4 rows of 8 values"),
        (torch.randn(4, 7), r"reads 8 features for 4 classes"),
        (torch.full((4, 8), torch.nan), "Row 0 .* is not finite"),
        (torch.randn(8), r"Rows of shape \(8,\)"),
    ):
        with pytest.raises(SettingsError, match=message):
            replace_head(model, id2label=IDS, init=wrong)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    with pytest.raises(SettingsError, match="or give a tensor of rows"):
        replace_head(model, id2label=IDS, init="names")
    model(**given)
