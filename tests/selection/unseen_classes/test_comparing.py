"""Every method on several splits of the classes, chosen on seen classes alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from joint_networks import joint
from transformers import TrainingArguments

from hf_transfer_kit.backbones.dann_mnist import DannMnistConfig, DannMnistForImageClassification
from hf_transfer_kit.backbones.fresh_networks import fresh_network, fresh_processor
from hf_transfer_kit.backbones.tower_classifier import tower_classifier
from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.metrics import seen_unseen_accuracies
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.unseen_classes import (
    FeatureMaker,
    NamedRows,
    SplitFeatures,
    compare_zero_shot,
    frozen_features,
    trained_features,
)
from hf_transfer_kit.selection.unseen_classes import comparing as module
from hf_transfer_kit.selection.unseen_classes.order import in_order
from hf_transfer_kit.tuning import FreezeLayers
from hf_transfer_kit.zero_shot import (
    AttributeTable,
    ZeroShotModel,
    choose_options,
    digit_strokes,
    fitted_method,
    hold_out,
    random_hold_outs,
)

CLASSES = tuple("abcdefgh")


@pytest.fixture(scope="module")
def table():
    values = np.random.default_rng(5).integers(0, 2, (8, 6)).astype(float)
    values[:, 0] = 1.0  # says nothing
    return AttributeTable(CLASSES, tuple(f"has {i}" for i in range(6)), values)


def made_up(table, *, rows=20, noise=0.5, seed=0):
    """Features that are a random picture of the attributes, as 768 numbers, and a network that could give them."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.randn(table.values.shape[1], 768, generator=generator, dtype=torch.float64)

    def part():
        names = tuple(name for name in table.classes for _ in range(rows))
        features = torch.from_numpy(table.rows(names)) @ picture
        return NamedRows(
            features + noise * torch.randn(features.shape, generator=generator, dtype=torch.float64), names
        )

    torch.manual_seed(0)
    network = DannMnistForImageClassification(DannMnistConfig(batch_norm=True))
    model = ZeroShotModel.from_backbone(network, table)
    return SplitFeatures(model, part(), part())


@pytest.fixture(scope="module")
def comparison(table):
    features = made_up(table)
    splits = random_hold_outs(CLASSES, 2, count=3, seed=2)
    seen = []
    found = compare_zero_shot(
        ["eszsl", "prototype"], lambda index, split: features, table, splits, on_split=lambda *done: seen.append(done)
    )
    assert seen == list(enumerate(splits))
    return found, features, splits


def test_the_verdict_is_on_the_unseen_rows_of_every_split(comparison, table):
    """The chosen method against the next by seen classes; each split's figure; a single method has none."""
    comparison, features, splits = comparison
    found = comparison.found
    chosen, (other,) = found.result(found.chosen), [r for r in found.results if r.name != found.chosen]
    verdict = found.verdict
    assert (verdict.winner, verdict.baseline, verdict.metric) == (chosen.name, other.name, "unseen_accuracy")
    assert verdict.winner_runs == pytest.approx([split.unseen_accuracy for split in chosen.splits])
    assert verdict.baseline_runs == pytest.approx([split.unseen_accuracy for split in other.splits])
    assert verdict.difference == pytest.approx(chosen.mean("unseen_accuracy") - other.mean("unseen_accuracy"))
    assert verdict.low <= verdict.difference <= verdict.high
    alone = compare_zero_shot(["eszsl"], lambda index, split: features, table, splits[:1], with_labels=False)
    assert alone.found.verdict is None


def test_figures_are_those_of_the_metric_and_the_saved_model_is_the_first_splits(comparison, table):
    comparison, features, splits = comparison
    found = comparison.found
    assert [result.name for result in found.results] == ["eszsl", "prototype"]
    assert found.chosen == in_order(found.results)[0].name
    assert found.unseen == tuple(split.unseen for split in splits)
    assert found.chance == 0.5
    assert all(result.mean("unseen_accuracy") > 0.75 for result in found.results)
    assert all(value > 0.9 for value in found.labelled)
    assert any("'has 0' is the same for every class" in finding for finding in found.findings)

    model = comparison.model
    assert model.config.seen == list(splits[0].seen)
    assert model.config.classes == list(CLASSES)
    with torch.no_grad():
        scores = model(features=features.test.features.float()).logits.numpy()
    expected = seen_unseen_accuracies(
        scores, features.test.places(CLASSES).numpy(), [name in splits[0].seen for name in CLASSES]
    )
    figures = found.result(found.chosen).splits[0]
    assert comparison.metrics["harmonic_mean"] == figures.harmonic_mean
    for name in ("unseen_accuracy", "generalised_seen_accuracy", "generalised_unseen_accuracy"):
        assert expected[name] == pytest.approx(getattr(figures, name), abs=0.02)
    assert figures.gamma == model.config.gamma
    assert found.lines[0].point == (
        found.results[0].splits[0].generalised_seen_accuracy, found.results[0].splits[0].generalised_unseen_accuracy,
    )  # fmt: skip
    assert sum(map(sum, found.confusion.counts)) == 40
    assert found.confusion.labels == splits[0].unseen
    right = sum(found.confusion.counts[i][i] for i in range(2)) / 40
    assert right == pytest.approx(figures.unseen_accuracy)
    shown = table.rows(splits[0].seen)
    varied = {name for name, column in zip(table.attributes, shown.T, strict=True) if np.ptp(column) > 0}
    assert varied < set(table.attributes)  # one that all seen classes have says nothing of what was read
    assert {figure.attribute for figure in found.attribute_figures} == varied
    assert len(found.explanations) == 6
    assert found.explanations[0].startswith(f"A row of {splits[0].unseen[0]}: ")


def test_rows_of_unseen_classes_change_nothing_that_is_learned_or_chosen(table):
    split = hold_out(CLASSES, ["b", "g"])
    honest = made_up(table)
    poisoned = honest.train.features.clone()
    poisoned[[name in split.unseen for name in honest.train.names]] = 1e6
    spoilt = SplitFeatures(honest.model, NamedRows(poisoned, honest.train.names), honest.test)
    first, second = (
        compare_zero_shot(["eszsl", "dap"], lambda i, s, f=f: f, table, [split], with_labels=False)
        for f in (honest, spoilt)
    )
    for one, other in zip(first.found.results, second.found.results, strict=True):
        assert one.splits == other.splits
    assert first.found.labelled == ()


def test_test_rows_choose_nothing(table):
    split = hold_out(CLASSES, ["b", "g"])
    honest = made_up(table)
    shuffled = NamedRows(honest.test.features, honest.test.names[::-1])
    other = SplitFeatures(honest.model, honest.train, shuffled)
    first, second = (
        compare_zero_shot(["eszsl", "sae"], lambda i, s, f=f: f, table, [split], with_labels=False)
        for f in (honest, other)
    )
    assert first.found.chosen == second.found.chosen
    for one, two in zip(first.found.results, second.found.results, strict=True):
        assert (one.splits[0].options, one.splits[0].gamma) == (two.splits[0].options, two.splits[0].gamma)
        assert one.splits[0].unseen_accuracy != two.splits[0].unseen_accuracy


def test_gamma_is_in_units_of_the_rows_that_were_learned_from(table):
    """Scores of test rows spread otherwise, and would want another gamma, if they were asked."""
    split = hold_out(CLASSES, ["b", "g"])
    honest = made_up(table)
    larger = SplitFeatures(honest.model, honest.train, NamedRows(10 * honest.test.features, honest.test.names))
    first, second = (
        compare_zero_shot(["eszsl"], lambda i, s, f=f: f, table, [split], with_labels=False) for f in (honest, larger)
    )
    one, two = (found.found.results[0].splits[0] for found in (first, second))
    learned = honest.train.of(split.seen)
    given = (learned.features, learned.places(split.seen), torch.from_numpy(table.rows(split.seen)))
    choice = choose_options("eszsl", *given, seed=0)
    method = fitted_method("eszsl", choice.options, *given)
    unit = float(method.scores(learned.features, given[2]).std())
    assert one.gamma == two.gamma == pytest.approx(choice.gamma * unit)
    assert first.model.config.gamma == second.model.config.gamma == one.gamma
    other = float(method.scores(larger.test.features, given[2]).std())
    assert other < 0.8 * unit


def test_what_was_found_on_a_split_is_kept_and_not_found_again(table, tmp_path, monkeypatch):
    features, told, asked, fits = made_up(table), [], [], []
    real = module.fitted

    def counted(method, *given, **options):
        fits.append(method)
        if len(fits) == stop:
            raise KeyboardInterrupt
        return real(method, *given, **options)

    monkeypatch.setattr(module, "fitted", counted)
    maker = FeatureMaker(
        lambda index, split: asked.append(index) or features, lambda: {"data": "rows", "weights": "network"}
    )

    def compare(methods=("eszsl", "prototype"), *, splits=2, table=table, kept=True):
        store = RunStore(tmp_path / "runs", tell=told.append) if kept else None
        chosen = random_hold_outs(CLASSES, 2, count=3, seed=2)[:splits]
        return compare_zero_shot(methods, maker, table, chosen, store=store)

    stop = None
    whole = compare(kept=False)
    fits.clear()
    stop = 4
    with pytest.raises(KeyboardInterrupt):
        compare()
    assert len(RunStore(tmp_path / "runs")) == 4  # three methods' and one with labels
    stop = None
    fits.clear(), told.clear(), asked.clear()
    found = compare()
    assert fits == ["prototype"]
    assert asked == [1, 0]  # the first split's once more, for its network is kept
    assert "eszsl, split 1, seed 0: was finished before and is taken as it was." in told
    assert figures(found) == figures(whole)
    state = whole.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in found.model.state_dict().items())
    fits.clear(), asked.clear()
    assert figures(compare()) == figures(whole)
    assert (fits, asked) == ([], [0])
    compare(("eszsl", "prototype", "sae"), splits=3)
    assert fits == ["sae", "sae", "eszsl", "prototype", "sae"]
    fits.clear()
    other = AttributeTable(table.classes, table.attributes, table.values + 0.5)
    compare(("prototype",), table=other)
    assert fits == ["prototype", "prototype"]
    with pytest.raises(SettingsError, match="give frozen_features or trained_features"):
        compare_zero_shot(
            ["eszsl"], lambda i, s: features, table, [hold_out(CLASSES, ["b", "g"])], store=RunStore(tmp_path)
        )


def figures(comparison):
    found = comparison.found
    results = [replace(result, seconds=0.0) for result in found.results]
    return replace(found, results=tuple(results)), comparison.metrics


def test_another_table_stands_beside_the_attributes(table):
    names = AttributeTable(CLASSES, ("x", "y"), np.random.default_rng(0).random((8, 2)) + 0.1)
    features = made_up(table)
    found = compare_zero_shot(
        ["prototype"], lambda i, s: features, table, [hold_out(CLASSES, ["b", "g"])], other_tables={"names": names}
    ).found
    assert [result.name for result in found.results] == ["prototype", "prototype on names"]
    assert found.chosen == "prototype"
    assert found.attributes == table.attributes


def test_equal_rows_bound_what_looking_up_can_reach():
    values = np.eye(6)
    values[5] = values[4]
    table = AttributeTable(tuple("abcdef"), tuple("uvwxyz"), values + 0.0)
    features = made_up(table, rows=8)
    found = compare_zero_shot(["prototype"], lambda i, s: features, table, [hold_out(table.classes, ["e", "f"])]).found
    assert found.lookup == 0.5
    assert "'e' and 'f' have equal rows" in found.findings[0]


def test_what_does_not_fit_is_a_sentence(table):
    features = made_up(table)
    split = hold_out(CLASSES, ["b", "g"])
    for methods, message in ((["magic"], "'magic' is no method; choose dap"), ([], "at least one of each")):
        with pytest.raises(SettingsError, match=message):
            compare_zero_shot(methods, lambda i, s: features, table, [split])
    with pytest.raises(SettingsError, match="needs at least 4 seen classes"):
        compare_zero_shot(["sae"], lambda i, s: features, table, [hold_out(CLASSES[:5], ["a", "b"])])
    with pytest.raises(DataError, match="'b', 'g' has no row in the table"):
        compare_zero_shot(["sae"], lambda i, s: features, table.select(list("acdefh")), [split])
    without = SplitFeatures(features.model, features.train.of("acdef"), features.test)
    with pytest.raises(DataError, match="h has no training row"):
        compare_zero_shot(["sae"], lambda i, s: without, table, [split])


@pytest.fixture(scope="module")
def digits():
    data = load_data("digits", train_size=120)
    return data, prepare_data(data, fresh_processor("dann_mnist"))


def test_a_frozen_network_is_asked_once_for_all_splits(digits, tmp_path):
    data, prepared = digits
    table = digit_strokes()
    make = frozen_features(fresh_network("dann_mnist", data.label_names), prepared, table, cache_dir=str(tmp_path))
    splits = random_hold_outs(table.classes, 3, count=2)
    first, second = (make(index, split) for index, split in enumerate(splits))
    assert first is second
    assert first.train.features.shape == (120 + len(prepared.validation), 768)
    assert first.train.names[0] == data.label_names[prepared.train.classes[0]]
    with torch.no_grad():
        batch = prepared.collator([prepared.test[row] for row in range(3)])
        expected = first.model.features(pixel_values=batch["pixel_values"])
    assert torch.allclose(first.test.features[:3].float(), expected, atol=1e-5)


def test_a_network_is_trained_on_seen_classes_alone(digits, tmp_path):
    data, prepared = digits
    table = digit_strokes()
    args = TrainingArguments(
        output_dir=str(tmp_path), max_steps=6, use_cpu=True, report_to=[], disable_tqdm=True, learning_rate=1e-2,
        remove_unused_columns=False, seed=3,
    )  # fmt: skip
    split = hold_out(table.classes, ["2", "5", "7"])
    made = []

    def network(seed):
        made.append(seed)
        return fresh_network("dann_mnist", data.label_names, seed=0)

    features = trained_features(network, prepared, table, args, method="ale")(1, split)
    assert made == [4]
    assert features.model.config.seen == list(split.seen)
    start = ZeroShotModel.from_backbone(fresh_network("dann_mnist", data.label_names, seed=0), table)
    pairs = zip(start.network.parameters(), features.model.network.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs)
    frozen = trained_features(
        network, prepared, table, args, method="ale", callbacks=lambda title: [FreezeLayers(all_but_head=True)]
    )(0, split)
    pairs = zip(start.network.parameters(), frozen.model.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_prompts_stand_beside_the_table_and_mix_with_it():
    """A network of six features that are the classes' prompts and noise; the table says nothing."""
    generator = torch.Generator().manual_seed(0)
    drawn = np.random.default_rng(0).normal(size=(8, 6))
    prompts = AttributeTable(CLASSES, tuple(f"dimension {i}" for i in range(6)), drawn)
    table = AttributeTable(CLASSES, ("u", "v"), np.random.default_rng(1).integers(0, 2, (8, 2)) + 0.5)

    def part():
        names = tuple(name for name in CLASSES for _ in range(15))
        noise = torch.randn(len(names), 6, generator=generator, dtype=torch.float64)
        return NamedRows(torch.from_numpy(prompts.rows(names)) + 0.3 * noise, names)

    network = tower_classifier(joint("clip"), "image", seed=0)
    features = SplitFeatures(ZeroShotModel.from_backbone(network, prompts), part(), part())
    splits = random_hold_outs(CLASSES, 3, count=2, seed=1)
    asked = (lambda index, split: features, table, splits)
    found = compare_zero_shot(["joint", "prototype", "joint_mix"], *asked, prompts=prompts, partner="prototype")
    figures = {result.name: result.mean("unseen_accuracy") for result in found.found.results}
    assert set(figures) == {
        "prototype", "prototype on prompts", "joint on prompts", "joint_mix on prompts and attributes",
    }  # fmt: skip
    assert figures["joint on prompts"] > 0.9
    assert figures["prototype"] < 0.75
    assert figures["joint_mix on prompts and attributes"] > figures["prototype"]
    mixed = found.found.result("joint_mix on prompts and attributes").splits[0].options
    assert (mixed["partner"], mixed["weight"] > 0) == ("prototype", True)
    alone = compare_zero_shot(["joint"], asked[0], None, splits, prompts=prompts)
    assert alone.found.attributes == alone.found.attribute_figures == ()
    assert alone.found.chosen == "joint on prompts"
    assert alone.model.config.seen == list(splits[0].seen)
    assert alone.found.results[0].mean("unseen_accuracy") == figures["joint on prompts"]
    for methods, given, described, message in (
        (["joint"], None, table, "this one has no text tower"),
        (["joint_mix"], prompts, None, "there are none: give a table"),
        (["eszsl"], None, None, "Nothing describes the classes"),
    ):
        with pytest.raises(SettingsError, match=message):
            compare_zero_shot(methods, asked[0], described, splits, prompts=given)
    with pytest.raises(SettingsError, match="partner='joint' is unknown"):
        compare_zero_shot(["joint_mix"], *asked, prompts=prompts, partner="joint")


def test_an_ensemble_is_the_same_whether_its_members_were_fitted_before_or_not(table):
    features, splits = made_up(table, rows=8), random_hold_outs(CLASSES, 2, count=2, seed=2)
    members = ["eszsl", "sae", "ale", "devise", "prototype"]
    alone, beside = (
        compare_zero_shot(methods, lambda index, split: features, table, splits, with_labels=False).found
        for methods in (["ensemble"], [*members, "ensemble"])
    )
    assert alone.result("ensemble").splits == beside.result("ensemble").splits
    options = beside.result("ensemble").splits[1].options
    assert options["member_options"] == {name: dict(beside.result(name).splits[1].options) for name in members}
