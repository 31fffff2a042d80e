"""Classifiers on pooled positions: every encoder of texts, its own pooling file, and what is saved is what is loaded."""

import json

import pytest
import tiny
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from hf_transfer_kit import layer_groups, load_model
from hf_transfer_kit.backbones import PooledEncoderConfig, PooledEncoderForSequenceClassification, find_head
from hf_transfer_kit.backbones.pooling import POOLINGS, pooled_positions
from hf_transfer_kit.errors import ModelError, SettingsError

TEXTS = [name for name in tiny.TRANSFORMERS if "input_ids" in tiny.TRANSFORMERS[name]()[1]]
ENCODERS = [name for name in TEXTS if not tiny.TRANSFORMERS[name]()[0].config.is_encoder_decoder]


def encoder(name, folder, modes=None, place="1_Pooling"):
    """The bare encoder of a family in a folder, with the files of sentence-transformers where modes are named."""
    model, inputs = tiny.TRANSFORMERS[name]()
    torch.manual_seed(0)
    bare = AutoModel.from_config(model.config).eval()
    bare.save_pretrained(folder)
    if modes is not None:
        kind = "sentence_transformers.models.Pooling"
        parts = [
            {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "path": place, "type": kind},
        ]
        (folder / "modules.json").write_text(json.dumps(parts))
        (folder / place).mkdir()
        (folder / place / "config.json").write_text(json.dumps(modes))
    return bare, inputs


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_encoder_of_texts_is_classified_by_its_pooled_positions(name, pooling, tmp_path):
    bare, inputs = encoder(name, tmp_path / "bare")
    mask = torch.ones_like(inputs["input_ids"])
    mask[0, -2:] = 0
    inputs = {**inputs, "attention_mask": mask}
    model = load_model(tmp_path / "bare", id2label={0: "a", 1: "b", 2: "c"}, pooling=pooling, seed=3)
    assert isinstance(model, PooledEncoderForSequenceClassification)
    with torch.no_grad():
        logits = model(**inputs).logits
        pooled = pooled_positions(bare(**inputs).last_hidden_state, mask.bool(), how=pooling)
        expected = model.classifier(pooled)
    assert torch.allclose(logits, expected, atol=1e-6)
    assert "classifier" in find_head(model)
    assert model.name_or_path == str(tmp_path / "bare")

    # Nothing is left that gets no gradient, as DDP would complain of.
    model.train()
    model(**inputs, labels=torch.tensor([0, 2])).loss.backward()
    idle = [key for key, weight in model.named_parameters() if weight.grad is None]
    assert idle == []

    model.eval().save_pretrained(tmp_path / "saved")
    assert str(tmp_path) not in (tmp_path / "saved" / "config.json").read_text()
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    assert again.config.pooling == pooling
    assert again.config.id2label == {0: "a", 1: "b", 2: "c"}
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, logits)
    other = load_model(tmp_path / "saved", num_labels=2)
    assert other.config.pooling == pooling
    assert torch.equal(next(iter(other.encoder.state_dict().values())), next(iter(model.encoder.state_dict().values())))


@pytest.mark.parametrize("name", ENCODERS)
def test_its_groups_are_those_of_transformers_classifier(name, tmp_path):
    encoder(name, tmp_path)
    groups = [layer_groups(load_model(tmp_path, num_labels=3, pooling=pooling)) for pooling in ("mean", "classifier")]
    pooled, own = ([group.num_parameters for group in one.body] for one in groups)
    poolers = ("pooler", "pre_classifier", "dense")
    assert pooled[:-1] == own[: len(pooled) - 1], poolers
    assert groups[0].head.num_parameters == 3 * (load_model(tmp_path, num_labels=3).config.hidden_size + 1)


@pytest.mark.parametrize(
    ("modes", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"embedding_dimension": 8, "pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, None),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, None),
        ({}, None),
        (None, None),
    ],
)
def test_an_encoder_of_sentences_is_read_as_its_own_files_say(modes, pooling, tmp_path):
    encoder("bert", tmp_path, modes, place="2_Pool")
    model = load_model(tmp_path, num_labels=2)
    pooled = isinstance(model, PooledEncoderForSequenceClassification)
    assert (model.config.pooling if pooled else None) == pooling
    assert not isinstance(
        load_model(tmp_path, num_labels=2, pooling="classifier"), PooledEncoderForSequenceClassification
    )
    fresh = load_model(tmp_path, num_labels=2, pretrained=False)
    assert isinstance(fresh, PooledEncoderForSequenceClassification) == pooled
    assert fresh.name_or_path == ""


def test_a_damaged_file_is_told(tmp_path):
    encoder("bert", tmp_path, {"pooling_mode": "mean"})
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(ModelError, match=r"modules.json of .* cannot be read"):
        load_model(tmp_path, num_labels=2)


def test_what_cannot_be_pooled_is_refused(tmp_path):
    encoder("bert", tmp_path / "bert", {"pooling_mode": "mean"})
    with pytest.raises(SettingsError, match="pooling='median' is unknown; choose 'auto' or 'classifier' or 'mean'"):
        load_model(tmp_path / "bert", num_labels=2, pooling="median")
    with pytest.raises(SettingsError, match="pooling='mean' is of texts or sounds that a fresh head classifies"):
        load_model(tmp_path / "bert", pooling="mean")
    with pytest.raises(SettingsError, match="pooling='mean' is of texts or sounds that a fresh head classifies"):
        load_model(tmp_path / "bert", num_labels=2, task_type="token_classification", pooling="mean")
    tiny.TRANSFORMERS["resnet"]()[0].save_pretrained(tmp_path / "resnet")
    with pytest.raises(SettingsError, match="pooling='mean' is of texts or sounds"):
        load_model(tmp_path / "resnet", num_labels=2, pooling="mean")
    with pytest.raises(SettingsError, match="pooling='median' is unknown"):
        PooledEncoderConfig(pooling="median")
    with pytest.raises(ModelError, match="needs encoder_config"):
        PooledEncoderForSequenceClassification(PooledEncoderConfig())


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in ENCODERS])
def test_an_encoder_with_a_decoder_has_no_such_positions(name, tmp_path):
    encoder(name, tmp_path, {"pooling_mode": "mean"})
    with pytest.raises(ModelError, match="gives no positions of a text that could be pooled"):
        load_model(tmp_path, num_labels=2, pooling="mean")
    assert not isinstance(load_model(tmp_path, num_labels=2), PooledEncoderForSequenceClassification)


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ({"num_labels": 1, "problem_type": "regression"}, torch.tensor([0.5, 2.0])),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, torch.eye(3)[:2]),
    ],
)
def test_the_loss_is_that_of_transformers_classifiers(settings, labels, tmp_path):
    bare, inputs = encoder("bert", tmp_path)
    config = PooledEncoderConfig(bare.config, "mean", **settings)
    model = PooledEncoderForSequenceClassification(config).eval()
    output = model(**inputs, labels=labels)
    loss = torch.nn.functional.mse_loss if settings["num_labels"] == 1 else None
    expected = (
        loss(output.logits.squeeze(), labels)
        if loss
        else torch.nn.functional.binary_cross_entropy_with_logits(output.logits, labels)
    )
    assert torch.allclose(output.loss, expected)
