"""Class names through a network's own text tower, alone and mixed with attributes."""

import numpy as np
import pytest
import torch
from joint_networks import inputs, joint, tokenizer
from transformers import AutoModel, AutoModelForImageClassification

from hf_transfer_kit.backbones import JointTowers, TowerForClassification, joint_modality
from hf_transfer_kit.backbones.tower_classifier import tower_classifier
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.zero_shot import (
    JOINT_METHODS,
    AttributeTable,
    ZeroShotModel,
    choose_options,
    fitted_method,
    prompted_classes,
)

NAMES = ("zebra", "horse", "wolf", "fox", "killer whale", "whale")
TABLE = AttributeTable.of({name: {"stripes": place % 2, "size": place / 2 + 1} for place, name in enumerate(NAMES)})


def made(kind="clip"):
    model = joint(kind)
    pair = JointTowers(model, tokenizer(), joint_modality(model.config))
    prompts = prompted_classes(NAMES, pair, templates=["a photo of a {} ."])
    return tower_classifier(model, pair.reads, seed=0), prompts


def own_logits():
    tokens = tokenizer()([f"a photo of a {name} ." for name in NAMES], padding=True, return_tensors="pt")
    with torch.no_grad():
        return joint("clip")(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], **inputs("clip")
        ).logits_per_image


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_model_gives_the_networks_own_logits_and_comes_back_with_them(tmp_path):
    network, prompts = made()
    model = ZeroShotModel.from_backbone(network, prompts, seen=NAMES[:4], method="joint").eval()
    with torch.no_grad():
        logits = model(**inputs("clip")).logits
        assert torch.allclose(logits, own_logits(), atol=1e-4)
        model.save_pretrained(tmp_path)
        for auto in (AutoModel, AutoModelForImageClassification):
            again = auto.from_pretrained(tmp_path).eval()
            assert torch.equal(again(**inputs("clip")).logits, logits)
    assert isinstance(again.network, TowerForClassification)
    assert again.network.tower.text_model is None


def test_new_classes_need_their_names_alone():
    network, prompts = made()
    model = ZeroShotModel.from_backbone(network, prompts.select(NAMES[:5]), seen=NAMES[:4], method="joint").eval()
    whole = ZeroShotModel.from_backbone(made()[0], prompts, seen=NAMES[:4], method="joint").eval()
    pair = JointTowers(joint("clip"), tokenizer(), "image")
    model.set_classes(prompted_classes(["whale"], pair, templates=["a photo of a {} ."]))
    with torch.no_grad():
        assert torch.allclose(model(**inputs("clip")).logits, whole(**inputs("clip")).logits, atol=1e-5)


def test_a_mix_is_both_scores_by_their_spreads():
    features, labels = random(40, 5), torch.arange(40) % 4
    prompts, attributes = random(6, 5, seed=1), random(6, 3, seed=2)
    both = torch.cat([prompts, attributes], dim=1)
    options = {"partner": "prototype", "partner_options": {"penalty": 0.5}, "weight": 0.3}
    mixed = fitted_method("joint_mix", options, features, labels, both[:4])
    alone = fitted_method("prototype", {"penalty": 0.5}, features, labels, attributes[:4])
    cosines = torch.nn.functional.normalize(features) @ prompts.T
    first, second = cosines / cosines[:, :4].std(), alone.scores(features, attributes)
    second = second / second[:, :4].std()
    scores = mixed.scores(features, both)
    assert torch.allclose(scores, 0.3 * first + 0.7 * second, atol=1e-9)
    parts = mixed.contributions(features, both[labels])
    assert parts.shape == (40, 8)
    assert torch.allclose(parts.sum(dim=1), scores.gather(1, labels[:, None])[:, 0], atol=1e-9)
    assert torch.allclose(mixed.scores(features, both[5:]), scores[:, 5:], atol=1e-12)


@pytest.mark.parametrize(("good", "expected"), [("prompts", 1.0), ("attributes", 0.0)])
def test_the_weight_goes_to_what_tells_pseudo_unseen_classes_apart(good, expected):
    """One description is the class's place among the features, the other is chance."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 12
    signal = torch.nn.functional.normalize(random(12, 6))
    features = signal[labels] + 0.1 * torch.randn(240, 6, generator=generator, dtype=torch.float64)
    noise = random(12, 6, seed=5)
    both = torch.cat([signal, noise] if good == "prompts" else [noise, signal], dim=1)
    choice = choose_options("joint_mix", features, labels, both, fixed={"partner": "prototype"}, splits=5)
    assert choice.options["weight"] == pytest.approx(expected, abs=0.26)
    assert choice.options["partner"] == "prototype"
    assert set(choice.options["partner_options"]) == {"penalty"}
    assert choice.pseudo_unseen > 0.7


def test_a_mixed_model_is_fitted_saved_and_explained(tmp_path):
    network, prompts = made()
    table = prompts.beside(TABLE)
    model = ZeroShotModel.from_backbone(
        network, table, seen=NAMES[:4], method="joint_mix", method_options={"partner": "prototype"}
    )
    features = random(24, 6, seed=3).float()
    model.fit(features, list(NAMES[:4]) * 6, choose=True)
    assert model.config.method_options["partner"] == "prototype"
    assert model.config.method_options["weight"] == model.head.weight
    assert all(spread > 0 for spread in model.head.spreads.tolist())
    model.eval()
    with torch.no_grad():
        logits = model(features=features).logits
        model.save_pretrained(tmp_path)
        again = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(again(features=features).logits, logits)
        assert torch.equal(again(**inputs("clip")).logits, model(**inputs("clip")).logits)
    found = again.explain(features=features[:1])[0]
    assert {voice.attribute for voice in found.voices} >= {"stripes", "size", "dimension 0"}
    again.train()(features=features, labels=torch.tensor([0, 1, 2, 3] * 6)).loss.backward()


@pytest.mark.parametrize("name", JOINT_METHODS)
def test_descriptions_that_are_not_the_towers_are_refused(name):
    network, prompts = made()
    with pytest.raises(SettingsError, match=r"prompted_classes|AttributeTable\.beside"):
        ZeroShotModel.from_backbone(network, TABLE, method=name)
    if name == "joint_mix":
        with pytest.raises(SettingsError, match="partner='joint' is unknown"):
            ZeroShotModel.from_backbone(
                made()[0], prompts.beside(TABLE), method=name, method_options={"partner": "joint"}
            )
        with pytest.raises(SettingsError, match="joint_mix: weight=2"):
            ZeroShotModel.from_backbone(made()[0], prompts.beside(TABLE), method=name, method_options={"weight": 2})


def test_tables_stand_side_by_side_by_class():
    first = AttributeTable(("a", "b"), ("u",), np.array([[1.0], [2.0]]))
    second = AttributeTable(("b", "c", "a"), ("v", "w"), np.array([[3.0, 4], [5, 6], [7, 8]]))
    both = first.beside(second)
    assert (both.classes, both.attributes) == (("a", "b"), ("u", "v", "w"))
    assert both.values.tolist() == [[1, 7, 8], [2, 3, 4]]
    with pytest.raises(DataError, match="'c' has no row"):
        second.beside(first)
    with pytest.raises(DataError, match="'u' stands twice"):
        first.beside(first)
