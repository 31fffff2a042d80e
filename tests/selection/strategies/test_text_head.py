"""The class names' embeddings as the head: what training begins with, where it may end, who is refused."""

import pytest
import tiny
import torch
from bright_rows import BUDGET, bright_data, race_arguments
from joint_networks import inputs, joint, save, tokenizer, towers

from hf_transfer_kit import class_embeddings, layer_groups, load_model
from hf_transfer_kit.backbones import TowerForClassification
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import compare_strategies, make_strategy, run_strategy
from hf_transfer_kit.selection.finetuning.race import validate_strategies
from hf_transfer_kit.selection.finetuning.running import make_trainer, run_arguments

NAMES = {0: "zebra", 1: "killer_whale"}


def loaded(path):
    return lambda seed: load_model(path, id2label=NAMES, seed=seed)


def zero_shot_logits(**given):
    tokens = tokenizer()(["the photo of a zebra .", "the photo of a killer whale ."], padding=True, return_tensors="pt")
    with torch.no_grad():
        return joint("clip")(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], **given
        ).logits_per_image


@pytest.mark.parametrize("kind", ["clip", "siglip", "vision-text-dual-encoder"])
def test_training_begins_with_the_zero_shot_classifier(kind, tmp_path):
    model = loaded(save(kind, tmp_path))(0)
    strategy = make_strategy("text_head")
    validate_strategies([strategy], model)
    prepared = strategy.prepare_model(model, seed=0)
    assert isinstance(prepared, TowerForClassification)
    assert prepared.config.id2label == NAMES
    rows = class_embeddings(list(NAMES.values()), towers(kind)).float()
    assert torch.allclose(prepared.classifier.weight, rows, atol=1e-5)
    assert not prepared.classifier.bias.any()


def test_one_template_may_be_named(tmp_path):
    strategy = make_strategy("text_head:template=the photo of a {} .")
    prepared = strategy.prepare_model(loaded(save("clip", tmp_path))(0), seed=0)
    with torch.no_grad():
        assert torch.allclose(prepared(**inputs("clip")).logits, zero_shot_logits(**inputs("clip")), atol=1e-4)


def test_wise_ft_goes_back_to_the_zero_shot_classifier_head_and_all(tmp_path):
    """Training rows have the other labels, so what is learned is wrong for the validation rows: alpha is 0."""
    data, args = bright_data(), race_arguments(tmp_path / "run")
    strategy = make_strategy("text_head:points=2")
    model = strategy.prepare_model(loaded(save("clip", tmp_path / "net"))(0), seed=0)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        data.train.labels, data.validation.labels = (
            flipped ^ model(pixel_values=rows.images).logits.argmax(-1)
            for flipped, rows in ((1, data.train), (0, data.validation))
        )
    settings = run_arguments(args, BUDGET, strategy, reads="image", seed=0)
    settings.learning_rate, settings.lr_scheduler_type = 1.0, "constant"
    trainer = make_trainer(strategy, model, data, settings, batch_size=BUDGET.batch_size)
    trainer.train()
    points = {e["interpolation/alpha"]: e for e in trainer.state.log_history if "interpolation/alpha" in e}
    assert points[0.0]["interpolation/accuracy"] == 1.0
    assert points[1.0]["interpolation/accuracy"] < 1.0
    assert all(torch.equal(value, start[name]) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("then", ["wise_ft", "lp_ft"])
def test_it_races_with_the_others_and_its_model_comes_back(then, tmp_path):
    data, args = bright_data(), race_arguments(tmp_path / "run")
    make_model = loaded(save("clip", tmp_path / "net"))
    found = compare_strategies(make_model, data, ["head_only", f"text_head:then={then}"], args, BUDGET)
    assert [len(result.curve) for result in found.results] == [2, 2]
    run = run_strategy(make_strategy(f"text_head:then={then}"), make_model, data, args, BUDGET, seed=0)
    run.model.save_pretrained(tmp_path / "kept")
    again = load_model(tmp_path / "kept")
    assert isinstance(again, TowerForClassification)
    with torch.no_grad():
        logits = again(pixel_values=data.test.images).logits
    assert logits.argmax(-1).tolist() == run.predicted.tolist()
    assert again.config.id2label == NAMES


def test_lp_ft_moves_the_head_alone_first(tmp_path):
    model = make_strategy("text_head:then=lp_ft").prepare_model(loaded(save("clip", tmp_path))(0), seed=0)
    (schedule,) = make_strategy("text_head:then=lp_ft").callbacks(model)
    schedule.check_model(layer_groups(model))


def test_networks_without_a_text_tower_are_refused_before_training(tmp_path):
    tiny.TRANSFORMERS["resnet"]()[0].save_pretrained(tmp_path / "resnet")
    plain = load_model(tmp_path / "resnet", num_labels=2)
    with pytest.raises(SettingsError, match=r"text_head cannot begin: .* 'resnet' model, which has no text tower"):
        validate_strategies([make_strategy("text_head")], plain)
    with pytest.raises(SettingsError, match="this ResNetForImageClassification came from none"):
        validate_strategies([make_strategy("text_head")], tiny.TRANSFORMERS["resnet"]()[0])
    path = save("clip", tmp_path / "clip")
    random = load_model(path, id2label=NAMES, pretrained=False)
    with pytest.raises(SettingsError, match="came from none"):
        validate_strategies([make_strategy("text_head")], random)
    assert make_strategy(f"text_head:source={path}").prepare_model(random, seed=0).classifier.weight.shape == (2, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text_head:then=full", "then='full' is unknown; choose 'wise_ft' or 'lp_ft'"),
        ("text_head:points=1", "points=1 is out of range"),
        ("text_head:template=a photo", "has no {}"),
    ],
)
def test_options_out_of_range_are_sentences(text, message):
    with pytest.raises(SettingsError, match=message):
        make_strategy(text).validate(layer_groups(tiny.TRANSFORMERS["resnet"]()[0]))
