"""The model that names classes by attributes: every family, the stock Trainer, new classes, explanations."""

import copy

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForImageClassification, Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit import AttributeTable, FreezeLayers, ZeroShotConfig, ZeroShotModel, cache_features, layer_groups
from hf_transfer_kit.backbones.dann_mnist import DannMnistConfig, DannMnistForImageClassification
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.tuning import L2SP
from hf_transfer_kit.tuning.scalars import take_scalars
from hf_transfer_kit.zero_shot import METHODS, choose_options, spread_of

FAMILIES = (
    "wrapped/resnet18",
    "wrapped/vit_tiny_patch16_224",
    "bert",
    "roberta",
    "distilbert",
    "t5",
    "gpt2",
    "resnet",
    "wav2vec2_stable",
    "whisper",
)
TABLE = {
    "zebra": {"stripes": 1, "hooves": 1, "flies": 0},
    "horse": {"stripes": 0, "hooves": 1, "flies": 0},
    "eagle": {"stripes": 0, "hooves": 0, "flies": 1},
    "wasp": {"stripes": 1, "hooves": 0, "flies": 1},
}
SEEN = ["horse", "wasp", "eagle"]


def make(family="resnet", **settings):
    network, inputs = tiny.classifiers()[family]()
    model = ZeroShotModel.from_backbone(network.eval(), TABLE, **{"seen": SEEN, **settings})
    return model.eval(), inputs


def pictures(rows, seed=0):
    return torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def fitted(**settings):
    model, _ = make(**settings)
    with torch.no_grad():
        features = model.features(pixel_values=pictures(12))
    return model.fit(features, SEEN * 4), features


@pytest.mark.parametrize("family", FAMILIES)
def test_any_classifier_carries_a_table_and_comes_back_with_it(family, tmp_path):
    network, inputs = tiny.classifiers()[family]()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = ZeroShotModel.from_backbone(network.eval(), TABLE, seen=SEEN).eval()
    kept = model.network.state_dict()
    assert all(torch.equal(kept[name], before[name]) for name in kept)
    assert len(before) - len(kept) in (1, 2)  # the label head's
    with torch.no_grad():
        features = model.features(**inputs)
        assert features.shape == (2, len(model.head.mean))
        logits = model(**inputs).logits
        assert logits.shape == (2, 4)
        assert torch.equal(model(features=features).logits, logits)
        model.save_pretrained(tmp_path)
        again = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(again(**inputs).logits, logits)
    assert set(again.state_dict()) == set(model.state_dict())
    assert again.config.id2label == {0: "zebra", 1: "horse", 2: "eagle", 3: "wasp"}
    assert again.table.to_dict() == model.table.to_dict() == AttributeTable.of(TABLE).to_dict()
    assert again.is_seen.tolist() == [False, True, True, True]


@pytest.mark.parametrize("method", METHODS)
def test_a_fitted_model_is_its_method_on_the_networks_features(method, tmp_path):
    model, features = fitted(method=method)
    table = AttributeTable.of(TABLE)
    expected = METHODS[method](features.shape[1], 3, 3).double().requires_grad_(False)
    expected.fit(features, torch.arange(12) % 3, torch.from_numpy(table.rows(SEEN)))
    scores = expected.scores(features.double(), torch.from_numpy(table.values))
    with torch.no_grad():
        assert torch.allclose(model(pixel_values=pictures(12)).logits.double(), scores, atol=2e-3)
        model.save_pretrained(tmp_path)
        again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
        assert torch.equal(again(features=features).logits, model(features=features).logits)


def test_options_and_gamma_can_be_chosen_at_once(tmp_path):
    generator = np.random.default_rng(0)
    table = AttributeTable(tuple("abcdefgh"), tuple("uvwxyz"), generator.integers(0, 2, (8, 6)) + 0.01)
    network, _ = tiny.classifiers()["resnet"]()
    model = ZeroShotModel.from_backbone(network, table, seen=tuple("abcdef"), method="prototype")
    names = [name for name in "abcdef" for _ in range(10)]
    picture = torch.from_numpy(generator.normal(size=(6, len(model.head.mean))))
    features = torch.from_numpy(table.rows(names)) @ picture + 0.3 * torch.from_numpy(generator.normal(size=(60, 1)))
    model.fit(features, names, choose=True)
    signatures = torch.from_numpy(table.rows(tuple("abcdef")))
    choice = choose_options("prototype", features, torch.arange(60) // 10, signatures)
    assert model.config.method_options == choice.options
    assert model.head.penalty == choice.options["penalty"]
    assert model.config.gamma == pytest.approx(choice.gamma * spread_of(model.head.double(), features), rel=1e-4)
    model.float().save_pretrained(tmp_path)
    again = ZeroShotModel.from_pretrained(tmp_path)
    assert (again.config.gamma, again.head.penalty) == (model.config.gamma, model.head.penalty)
    assert all(parameter.requires_grad for parameter in model.head.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_features_cached_of_the_network_are_those_that_fit_wants(family, tmp_path):
    model, inputs = make(family)
    rows = [{**{name: values[row] for name, values in inputs.items()}, "labels": 1} for row in range(2)]
    cached = cache_features(model.network, rows, cache_dir=tmp_path, progress=False)
    with torch.no_grad():
        expected = model.features(**inputs)
    assert np.allclose(np.array(cached.features), expected.numpy(), atol=1e-6)


def test_a_head_of_several_layers_is_left_away_as_a_whole():
    network = DannMnistForImageClassification(DannMnistConfig(batch_norm=True))
    model = ZeroShotModel.from_backbone(network, TABLE, seen=SEEN).eval()
    assert len(model.head.mean) == 768  # what the convolutions give, not what the label head makes of it
    with torch.no_grad():
        assert model(pixel_values=torch.zeros(2, 3, 28, 28)).logits.shape == (2, 4)


def test_seen_classes_are_lowered_by_gamma():
    model, features = fitted()
    with torch.no_grad():
        plain = model(features=features).logits
        model.config.gamma = 0.25
        lowered = model(features=features).logits
    assert torch.allclose(plain - lowered, torch.tensor([0.0, 0.25, 0.25, 0.25]).expand(12, 4), atol=1e-6)


def test_new_classes_need_no_training(tmp_path):
    model, features = fitted(method="dap")
    with torch.no_grad():
        before = model(features=features).logits
        new = {"bat": {"flies": 1, "stripes": 0, "hooves": 0.0}, "zebra": {"flies": 0, "hooves": 1, "stripes": 0}}
        assert model.set_classes(new) is model
        after = model(features=features).logits
    assert model.config.id2label == {0: "zebra", 1: "horse", 2: "eagle", 3: "wasp", 4: "bat"}
    assert model.config.label2id["bat"] == 4
    assert torch.equal(after[:, 1:4], before[:, 1:])
    assert torch.allclose(after[:, 4], before[:, 2])  # a bat has what an eagle has
    assert torch.allclose(after[:, 0], before[:, 1])  # and zebras lost their stripes
    model.save_pretrained(tmp_path)
    again = ZeroShotModel.from_pretrained(tmp_path).eval()
    assert again.table.to_dict() == model.table.to_dict()
    again.set_classes({"pony": {"stripes": 0, "hooves": 1, "flies": 0}}, replace=True)
    with torch.no_grad():
        alone = again(features=features).logits
    assert alone.shape == (12, 1)
    assert torch.allclose(alone[:, 0], before[:, 1])
    with pytest.raises(DataError, match="only in the second: 'wings'"):
        model.set_classes({"bat": {"stripes": 0, "hooves": 0, "wings": 1}})
    with pytest.raises(DataError, match=r"All attributes of 'ghost' are 0"):
        model.set_classes({"ghost": {"stripes": 0, "hooves": 0, "flies": 0}})
    with pytest.raises(DataError, match=r"'flies' of 'bat' is nan"):
        model.set_classes({"bat": {"stripes": 0, "hooves": 0, "flies": float("nan")}})


def test_ten_thousand_classes_are_a_few_matrix_products(tmp_path):
    model, features = fitted()
    many = np.random.default_rng(0).random((10_000, 3))
    table = AttributeTable(tuple(f"class {i}" for i in range(10_000)), model.table.attributes, many)
    model.set_classes(table)
    score, products = model.head.scores, []
    model.head.scores = lambda rows, attributes: products.append(len(attributes)) or score(rows, attributes)
    with torch.no_grad():
        logits = model(features=features).logits
    assert logits.shape == (12, 10_004)
    assert len(products) == 20, "work in Python a class"
    del model.head.scores
    model.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors")["class_attributes"].shape == (10_004, 3)


def test_an_explanation_adds_up_to_the_difference_of_the_scores():
    model, features = fitted()
    with torch.no_grad():
        scores = model(features=features).logits
    for row, found in enumerate(model.explain(features=features)):
        first, second = scores[row].topk(2).indices.tolist()
        assert (found.name, found.against) == (model.config.id2label[first], model.config.id2label[second])
        total = sum(voice.contribution for voice in found.voices)
        assert total == pytest.approx((scores[row, first] - scores[row, second]).item(), abs=1e-5)
        assert found.score - found.against_score == pytest.approx(total, abs=1e-5)
    one = model.explain(["zebra"], against=["horse"], features=features[:1])[0]
    stripes = next(voice for voice in one.voices if voice.attribute == "stripes")
    assert (stripes.value, stripes.other) == (1.0, 0.0)
    assert all(voice.contribution > 0 for voice in one.spoke_for())
    assert all(voice.contribution < 0 for voice in one.spoke_against())
    assert str(one).startswith("zebra rather than horse: ")
    from_pictures = model.explain(["zebra"] * 12, pixel_values=pictures(12))
    assert from_pictures[0].score == pytest.approx(scores[0, 0].item(), abs=1e-5)
    with pytest.raises(DataError, match="'unicorn' has no row"):
        model.explain(["unicorn"] * 12, features=features)
    with pytest.raises(DataError, match="a class for each of the 12 rows"):
        model.explain(["zebra"], features=features)


class Stop(TrainerCallback):
    def __init__(self, after):
        self.after = after

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.after


def train(model, rows, folder, *, callbacks=(), resume=False, **settings):
    args = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, seed=0, per_device_train_batch_size=4,
        **{"max_steps": 6, "learning_rate": 1e-2, "save_strategy": "no", **settings},
    )  # fmt: skip
    trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows, callbacks=list(callbacks))
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer


@pytest.mark.parametrize("method", METHODS)
def test_the_stock_trainer_trains_every_method(method, tmp_path):
    model, _ = make(method=method)
    places = [model.config.label2id[name] for name in SEEN]
    rows = [{"pixel_values": picture, "labels": places[i % 3]} for i, picture in enumerate(pictures(12))]
    with torch.no_grad():
        first = model(pixel_values=pictures(12), labels=torch.tensor(places * 4)).loss
    table = model.class_attributes.clone()
    trainer = train(model, rows, tmp_path, max_steps=12)
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] < first
    assert torch.equal(model.class_attributes, table)
    assert f"{method}_loss" in take_scalars(model)


def test_a_frozen_network_stays_bit_for_bit_while_the_attributes_are_learned(tmp_path):
    model, _ = make()
    groups = layer_groups(model)
    assert [group.is_head for group in groups].count(True) == 1
    assert groups[-1].is_head
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = [{"pixel_values": picture, "labels": 1 + i % 3} for i, picture in enumerate(pictures(12))]
    train(model, rows, tmp_path, callbacks=[FreezeLayers(all_but_head=True)])
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight"}


def test_cached_features_train_the_attributes_alone(tmp_path):
    model, _ = make(method="dap")
    rows = [{"pixel_values": picture, "labels": 1 + i % 3} for i, picture in enumerate(pictures(12))]
    cached = cache_features(model.network, rows, cache_dir=tmp_path / "cache", progress=False)
    body = {name: value.clone() for name, value in model.network.state_dict().items()}
    whole = copy.deepcopy(model)
    train(model, cached, tmp_path, max_steps=4)
    assert all(torch.equal(value, body[name]) for name, value in model.network.state_dict().items())
    # The same steps as with the network in front, frozen.
    train(whole, rows, tmp_path, max_steps=4, callbacks=[FreezeLayers(all_but_head=True)])
    assert torch.allclose(model.head.weight, whole.head.weight, atol=1e-6)


TWO_PROCESSES = """
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from zero_shot.test_modeling import make, pictures

distributed.init_process_group("gloo")
rank = distributed.get_rank()
torch.manual_seed(0)
model, _ = make("wrapped/vit_tiny_patch16_224", method=sys.argv[2])
model.train()
spread = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
rows = slice(4 * rank, 4 * rank + 4)
labels = torch.tensor([1, 2, 3, 1, 2, 3, 1, 2])
for _ in range(3):
    optimizer.zero_grad()
    spread(pixel_values=pictures(8)[rows], labels=labels[rows]).loss.backward()
    optimizer.step()
if rank == 0:
    torch.save(model.state_dict(), sys.argv[1])
"""


@pytest.mark.parametrize("method", ["dap", "ale"])
def test_two_processes_equal_one(method, two_processes, tmp_path):
    two_processes(TWO_PROCESSES, tmp_path / "spread.pt", method)
    torch.manual_seed(0)
    model, _ = make("wrapped/vit_tiny_patch16_224", method=method)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(pixel_values=pictures(8), labels=torch.tensor([1, 2, 3, 1, 2, 3, 1, 2])).loss.backward()
        optimizer.step()
    spread = torch.load(tmp_path / "spread.pt")
    for name, value in model.state_dict().items():
        assert torch.allclose(value, spread[name], atol=1e-5), name


def test_a_run_resumes_where_it_stopped(tmp_path):
    rows = [{"pixel_values": picture, "labels": 1 + i % 3} for i, picture in enumerate(pictures(12))]
    found = []
    for steps in ((6,), (3, 6)):
        torch.manual_seed(0)
        model, _ = make("wrapped/vit_tiny_patch16_224", method="prototype")
        folder = tmp_path / str(len(steps))
        for number, stop in enumerate(steps):
            settings = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6}
            callbacks = [Stop(stop)]
            train(model, rows, folder, callbacks=callbacks, resume=bool(number), **settings)
            if number + 1 < len(steps):
                torch.manual_seed(1)
                model, _ = make("wrapped/vit_tiny_patch16_224", method="prototype")
        found.append({name: value.clone() for name, value in model.state_dict().items()})
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_weights_are_held_near_the_pretrained_ones(tmp_path):
    rows = [{"pixel_values": picture, "labels": 1 + i % 3} for i, picture in enumerate(pictures(12))]
    moved = {}
    for held in (False, True):
        torch.manual_seed(0)
        model, _ = make()
        start = {name: value.clone() for name, value in model.network.named_parameters()}
        settings = {"optim": "sgd", "learning_rate": 0.05, "max_steps": 20}
        train(model, rows, tmp_path, callbacks=[L2SP(alpha=5.0, beta=0.0)] if held else [], **settings)
        moved[held] = sum((value - start[name]).square().sum() for name, value in model.network.named_parameters())
    assert 0 < moved[True] < 0.5 * moved[False]


def test_a_row_of_an_unseen_class_stops_training_before_it_teaches():
    model, _ = make()
    model.train()
    with pytest.raises(DataError, match=r"Training rows show 'zebra', which must stay unseen\. Drop these rows"):
        model(pixel_values=pictures(2), labels=torch.tensor([1, 0]))
    with pytest.raises(DataError, match="show 'zebra'"):
        model.fit(torch.zeros(2, len(model.head.mean)), ["horse", "zebra"])
    with pytest.raises(DataError, match=r"shape \(2, 3\) for 2 labels, but this network gives"):
        model.fit(torch.zeros(2, 3), ["horse", "wasp"])
    model.eval()
    with torch.no_grad():
        both = model(pixel_values=pictures(2), labels=torch.tensor([1, 0])).loss
        one = model(pixel_values=pictures(2)[:1], labels=torch.tensor([1])).loss
        none = model(pixel_values=pictures(2), labels=torch.tensor([0, 0])).loss
    assert both.item() == pytest.approx(one.item(), rel=1e-5)
    assert none.item() == 0.0


def test_labels_of_unseen_classes_play_no_part_in_the_loss():
    model, features = fitted()
    model.train()
    labels = torch.tensor([1, 2, 3] * 4)
    first = model(features=features, labels=labels).loss
    model.set_classes({"zebra": {"stripes": 0.3, "hooves": 0.1, "flies": 0.9}})
    model.set_classes({"new": {"stripes": 1, "hooves": 1, "flies": 1}})
    assert torch.equal(model(features=features, labels=labels).loss, first)


def test_mixed_precision_scores_in_full():
    model, features = fitted(method="dap")
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(features=features, labels=torch.tensor([1, 2, 3] * 4))
    assert mixed.logits.dtype == torch.float32
    with torch.no_grad():
        assert torch.allclose(mixed.logits, model(features=features).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"method": "magic"}, SettingsError, "method='magic' is unknown; choose one of dap"),
        ({"seen": ["horse", "dragon"]}, DataError, "'dragon' has no row in the table"),
        ({"seen": ["horse", "horse"]}, SettingsError, "seen class 'horse' stands twice"),
        ({"gamma": float("nan")}, SettingsError, "gamma=nan: give a finite number"),
        ({"method_options": {"gamma": 0}}, SettingsError, "eszsl: gamma=0 is out of range"),
    ],
)
def test_settings_that_do_not_fit_are_sentences(settings, error, message):
    with pytest.raises(error, match=message):
        make(**settings)


def test_what_is_no_classifier_is_refused():
    with pytest.raises(ModelError, match="no model of transformers"):
        ZeroShotModel.from_backbone(torch.nn.Linear(2, 2), TABLE)
    with pytest.raises(SettingsError, match="needs backbone_config"):
        ZeroShotModel(ZeroShotConfig())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", METHODS)
def test_features_that_are_not_finite_are_refused(method, value):
    model, _ = make(method=method)
    features = torch.randn(12, len(model.head.mean))
    features[7, 0] = value
    with pytest.raises(DataError, match="1 of 12 rows of features are not finite, the first row 7"):
        model.fit(features, SEEN * 4)


class TestClassesWithoutRows:
    def features(self, model):
        with torch.no_grad():
            return model.features(pixel_values=pictures(12))

    @pytest.mark.parametrize("labels", ["names", "places", "numpy", "list"])
    def test_of_all_classes_those_with_rows_are_seen(self, labels, said):
        model, _ = make(seen=None, gamma=0.5)
        names = list(TABLE)
        given = {
            "names": SEEN * 4,
            "places": torch.tensor([names.index(name) for name in SEEN * 4]),
            "numpy": np.array([names.index(name) for name in SEEN * 4]),
            "list": [np.int64(names.index(name)) for name in SEEN * 4],
        }[labels]
        model.fit(self.features(model), given)
        assert model.config.seen == ["horse", "eagle", "wasp"]
        assert model.is_seen.tolist() == [False, True, True, True]
        assert "No row shows 'zebra': they count as unseen classes." in said()
        named, _ = make(seen=["horse", "eagle", "wasp"], gamma=0.5)
        named.fit(self.features(model), SEEN * 4)
        with torch.no_grad():
            features = self.features(model)
            assert torch.allclose(model.scores(features), named.scores(features), atol=1e-6)

    def test_a_class_that_was_named_needs_rows(self):
        model, _ = make(seen=["horse", "wasp", "eagle"])
        with pytest.raises(DataError, match="No row shows 'eagle', which are to be seen classes"):
            model.fit(self.features(model), ["horse", "wasp"] * 6)

    def test_a_number_that_is_no_class_is_told(self):
        model, _ = make()
        with pytest.raises(DataError, match="Row 0 has the label 7; the 4 classes are 0 to 3"):
            model.fit(self.features(model), [7] * 12)


def test_a_model_from_before_units_were_stored_reads_attributes_as_they_are(tmp_path):
    from safetensors.torch import save_file

    model, features = fitted()
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    old = {name: value for name, value in state.items() if name not in ("head.unit", "head.origin")}
    assert len(old) == len(state) - 2
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again = ZeroShotModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again.scores(features), model.scores(features))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_classes_that_are_added_leave_the_scores_of_the_others_bit_identical(method, tmp_path):
    generator = np.random.default_rng(3)
    table = AttributeTable(tuple("abcdefg"), tuple("uvwxyz"), generator.random((7, 6)))
    model = ZeroShotModel.from_backbone(tiny.TRANSFORMERS["resnet"]()[0], table, seen=list("abcde"), method=method)
    features = torch.from_numpy(generator.normal(size=(40, len(model.head.mean)))).float()
    model.fit(features, [letter for letter in "abcde" for _ in range(8)]).eval()
    model.config.gamma = 0.1
    with torch.no_grad():
        before = model(features=features).logits
        for count in (1, 3, 600):
            added = {f"{count} {place}": row for place, row in enumerate(generator.random((count, 6)).tolist())}
            rows = AttributeTable(tuple(added), tuple("uvwxyz"), np.array(list(added.values())))
            model.set_classes(rows)
            after = model(features=features).logits
            assert torch.equal(after[:, :7], before)
        direct = model.head.scores(features, model.class_attributes)
        assert torch.allclose(after + 0.1 * model.is_seen, direct, atol=1e-5)
        model.save_pretrained(tmp_path)
        assert torch.equal(ZeroShotModel.from_pretrained(tmp_path).eval()(features=features).logits, after)
