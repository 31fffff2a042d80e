"""Methods for several sources: judged on the source that was left out, and on no test row."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from selection.generalising.source_data import network, prepared, sources
from transformers import EvalPrediction, TrainerCallback, TrainingArguments

from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.contest.flattening import flattened
from hf_transfer_kit.selection.generalising import (
    METHODS,
    Sources,
    compare_generalisation,
    make_generalisation_method,
    run_generalisation,
)
from hf_transfer_kit.selection.generalising.running import of_each_source

BUDGET = Budget(6, 6, evaluations=3, learning_rate=2e-3)


@pytest.fixture
def args(tmp_path):
    return TrainingArguments(
        str(tmp_path), use_cpu=True, report_to=[], per_device_train_batch_size=6, disable_tqdm=True
    )


def run(text, args, data=None, *, seed=0, budget=BUDGET, **options):
    method = make_generalisation_method(text)
    return run_generalisation(
        method, network, data or sources("red", "green", "blue"), args, budget, seed=seed, **options
    )


def same(one, other):
    other = other.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


class Evaluations(TrainerCallback):
    def __init__(self):
        self.seen = []
        self.weights = []

    def on_evaluate(self, args, state, control, metrics=None, model=None, **kwargs):
        self.seen.append(dict(metrics))
        self.weights.append({name: value.clone() for name, value in model.state_dict().items()})


@pytest.mark.parametrize("text", [*METHODS, "joint:average=swad,start_patience=1", "coral:weight=3,view=1"])
def test_every_method_trains_and_tells_the_accuracy_on_each_source(text, args):
    found = run(text, args)
    assert set(found.validation) == {"red", "green", "blue"}
    assert all(0 <= value <= 1 for value in found.validation.values())
    assert all(np.isfinite(entry["class_loss"]) for entry in found.log if "loss" in entry)
    assert ("coral_loss" in found.log[0]) == text.startswith("coral")
    assert ("largest_share" in found.log[0]) == text.startswith("group_dro")


def test_a_run_ends_when_accuracy_on_the_sources_has_flattened(args):
    found = run("joint", args, budget=Budget(240, 6, evaluations=60, learning_rate=2e-3, patience=2))
    looks = [(entry["step"], entry["eval_accuracy"]) for entry in found.log if "eval_accuracy" in entry]
    begin = next(step for step, _ in looks if flattened([value for at, value in looks if at <= step], 2, least=0.005))
    assert found.ended == "flat"
    assert found.steps == begin + 1 + round((begin + 1) / 3)  # it is heard of after the step that follows the look
    assert looks[-1][0] == found.steps < 240


def test_metrics_of_an_evaluation_count_every_source_alike(args):
    watch = Evaluations()
    data = sources("red", "green", "blue")
    found = run("joint", args, data, callbacks=[watch], select="last")
    metrics = watch.seen[-1]
    by_hand, losses = {}, []
    with torch.no_grad():
        for name, part in data.rows.items():
            logits = found.model.eval()(pixel_values=part.validation.values).logits
            labels = torch.as_tensor(part.validation.classes)
            by_hand[name] = float((logits.argmax(1) == labels).float().mean())
            losses.append(float(torch.nn.functional.cross_entropy(logits, labels)))
    assert found.validation == pytest.approx(by_hand)
    assert metrics["eval_accuracy"] == pytest.approx(np.mean(list(by_hand.values())))
    assert metrics["eval_balanced_loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_small_source_counts_as_much_as_a_large_one():
    """Of two rows of one source and eight of another: all right, and half right."""
    logits = np.array([[4.0, 0.0]] * 2 + [[0.0, 4.0]] * 4 + [[4.0, 0.0]] * 4)
    labels = np.array([0] * 2 + [1] * 8)
    found = of_each_source({"few": 2, "many": 8})(EvalPrediction(logits, labels))
    assert (found["accuracy_few"], found["accuracy_many"], found["accuracy"]) == (1.0, 0.5, 0.75)
    right, wrong = np.log(1 + np.exp(-4)), np.log(1 + np.exp(4))
    assert found["balanced_loss"] == pytest.approx((right + (right + wrong) / 2) / 2)


def test_the_best_weights_on_the_sources_are_kept(args):
    watch = Evaluations()
    budget = Budget(7, 6, evaluations=3, learning_rate=2e-2)
    found = run("joint", args, callbacks=[watch], budget=budget)
    during = watch.seen[:-1]
    assert len(during) == 3  # the last step is looked at, though 7 is no multiple of 3
    best = max(range(3), key=lambda i: (during[i]["eval_accuracy"], -during[i]["eval_balanced_loss"]))
    state = found.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in watch.weights[best].items())
    whole = run("joint", args, budget=budget, select="last")
    assert same(whole.model, found.model) == (best == 2)


def test_a_run_learns_what_the_sources_share(args):
    found = run("joint", args, budget=Budget(60, 6, evaluations=2, learning_rate=2e-3))
    assert min(found.validation.values()) == 1.0


class Read(TrainerCallback):
    """Which sources a run reads."""

    def __init__(self, title, seen):
        self.title, self.seen = title, seen

    def on_train_begin(self, args, state, control, train_dataloader=None, **kwargs):
        self.seen[self.title] = train_dataloader.dataset.names


def test_a_source_left_out_is_not_read(args):
    seen = {}
    compare_generalisation(
        ["joint"], network, sources("red", "green", "blue"), args, Budget(1, 6, evaluations=1),
        callbacks=lambda title, seed: [Read(title, seen)],
    )  # fmt: skip
    assert seen == {
        "joint without red": ("green", "blue"),
        "joint without green": ("red", "blue"),
        "joint without blue": ("red", "green"),
        "joint on all sources": ("red", "green", "blue"),
    }


class TestOneSource:
    """All methods are one where a single source is left."""

    @pytest.mark.parametrize("text", ["per_domain_bn", "group_dro:eta=0.5", "coral:weight=9"])
    def test_it_is_joint(self, text, args):
        one, other = (
            run(name, args, sources("red"), select="last").model.export_classifier() for name in ("joint", text)
        )
        for name, value in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-5, atol=1e-6)

    def test_options_that_still_matter_tell_methods_apart(self):
        keys = {
            text: make_generalisation_method(text).with_one_source
            for text in (
                "joint",
                "coral:weight=3",
                "joint:view=1",
                "joint:average=swad",
                "group_dro:average=swad",
                "joint:invert=true",
            )
        }
        assert keys["joint"] == keys["coral:weight=3"] == keys["joint:invert=true"]
        assert keys["joint:average=swad"] == keys["group_dro:average=swad"]
        assert len(set(keys.values())) == 3


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    args = TrainingArguments(
        str(tmp_path_factory.mktemp("run")),
        use_cpu=True,
        report_to=[],
        per_device_train_batch_size=6,
        disable_tqdm=True,
    )
    titles, told = [], []
    comparison = compare_generalisation(
        ["joint", "coral", "joint:average=swad"],
        network,
        sources("red", "green", "blue"),
        args,
        BUDGET,
        seeds=[0, 1],
        unseen=("grey", prepared("grey")),
        callbacks=lambda title, seed: titles.append((title, seed)) or [],
        on_result=told.append,
    )
    return comparison, titles, told


class TestComparison:
    def test_each_source_is_left_out_once_a_seed_and_the_chosen_one_sees_all(self, found):
        comparison, titles, told = found
        for method in ("joint", "coral", "joint:average=swad"):
            for name in ("red", "green", "blue"):
                assert {(f"{method} without {name}", 0), (f"{method} without {name}", 1)} <= set(titles)
        assert titles[-2:] == [(f"{comparison.found.chosen} on all sources", seed) for seed in (0, 1)]
        assert len(titles) == 3 * 3 * 2 + 2
        assert [result.method for result in told] == ["joint", "coral", "joint:average=swad"]

    def test_a_source_left_out_is_judged_on_its_validation_rows_by_a_run_without_it(self, found, args):
        comparison, _, _ = found
        data = sources("red", "green", "blue")
        again = run("coral", args, data.without("green"), seed=1)
        with torch.no_grad():
            logits = again.model.eval()(pixel_values=data.rows["green"].validation.values).logits
        right = float((logits.argmax(1).numpy() == data.rows["green"].validation.classes).mean())
        result = comparison.found.result("coral")
        assert result.left_out["green"][1] == pytest.approx(right)
        assert result.in_domain["green"][1] == pytest.approx(np.mean(list(again.validation.values())))

    def test_the_best_mean_is_chosen_and_the_worst_source_told(self, found):
        comparison, _, _ = found
        means = {r.method: np.mean([np.mean(v) for v in r.left_out.values()]) for r in comparison.found.results}
        assert comparison.found.chosen == max(means, key=means.get)
        for result in comparison.found.results:
            assert result.mean == pytest.approx(means[result.method])
            assert result.by_domain[result.worst] == min(result.by_domain.values())
            by_seed = [np.mean([values[seed] for values in result.left_out.values()]) for seed in (0, 1)]
            assert result.spread == pytest.approx(np.std(by_seed, ddof=1))

    def test_final_figures_are_of_test_rows(self, found):
        comparison, _, _ = found
        assert comparison.found.unseen_name == "grey"
        assert len(comparison.found.unseen) == 2
        assert comparison.found.unseen[0] == pytest.approx(np.mean(comparison.true == comparison.predicted))
        assert len(comparison.true) == 15
        low, high = comparison.found.unseen_interval
        assert low <= np.mean(comparison.found.unseen) <= high
        assert {name: len(values) for name, values in comparison.found.known.items()} == {
            "red": 2,
            "green": 2,
            "blue": 2,
        }
        assert comparison.found.alike == ()


def spoiled(part):
    """The same with test rows of noise and other labels: nothing may follow from them but the figures of test rows."""
    return replace(part, test=Rows(torch.randn(15, 3, 28, 28), np.zeros(15, dtype=int), "pixel_values"))


def test_test_rows_choose_nothing(args):
    outcomes = []
    for change in (lambda part: part, spoiled):
        data = sources("red", "green")
        data = Sources({name: change(part) for name, part in data.rows.items()}, pretrained=False)
        grey = ("grey", change(prepared("grey")))
        outcomes.append(
            compare_generalisation(["joint", "joint:average=swad"], network, data, args, BUDGET, unseen=grey)
        )
    one, other = outcomes
    assert [r.left_out for r in one.found.results] == [r.left_out for r in other.found.results]
    assert one.found.chosen == other.found.chosen
    assert same(one.run.model, other.run.model)


def test_two_sources_leave_one_and_methods_that_are_the_same_run_once(args):
    titles = []
    found = compare_generalisation(
        ["joint", "coral", "group_dro", "joint:average=swad"],
        network,
        sources("red", "green"),
        args,
        BUDGET,
        callbacks=lambda title, seed: titles.append(title) or [],
    ).found
    assert found.alike == ("joint", "coral", "group_dro")
    assert titles[:-1] == [f"{name} without {s}" for name in ("joint", "joint:average=swad") for s in ("red", "green")]
    by_method = {result.method: result.left_out for result in found.results}
    assert by_method["joint"] == by_method["coral"] == by_method["group_dro"]
    assert found.chosen in ("joint", "joint:average=swad")
    assert [result.summary for result in found.results][1] == METHODS["coral"]


def test_classes_of_different_sizes_are_weighed_as_asked(args):
    data = sources("red", "green", weights="balanced")
    data.rows["red"].train.classes = np.array([0] * 18 + [1] * 4 + [2] * 2)
    found = run("joint", args, data)
    counts = np.array([18 + 8, 4 + 8, 2 + 8])  # the 15 rows of green, and 9 of them again, count as many as red's 24
    assert found.model.class_weights.tolist() == pytest.approx((counts.sum() / (3 * counts)).tolist())
    assert "class_weights" not in found.model.state_dict()
    plain = sources("red", "green", sampler="balanced")
    plain.rows["red"].train.classes = np.array([0] * 18 + [1] * 4 + [2] * 2)
    assert run("joint", args, plain).model.class_weights is None


@pytest.mark.parametrize(("methods", "changes", "words"), [
    (["joint", "joint"], {}, "none twice"),
    ([], {}, "methods are none"),
    (["joint"], {"seeds": []}, "is no list"),
    (["joint"], {"select": "bnm"}, "select='bnm' does not choose without a target"),
    (["dann"], {}, "There is no method 'dann' for several sources; choose from joint, per_domain_bn, group_dro, coral"),
    (["coral:wieght=2"], {}, "wieght is no option of coral; its options are weight, view, invert, average"),
    (["joint:tolerance=2"], {}, "tolerance is no option of joint"),
    (["joint:average=ema"], {}, "average='ema' is unknown"),
    (["joint:average=swad,end_patience=0"], {}, "SWAD: end_patience=0 is out of range"),
    (["group_dro:eta=-1"], {}, "group_dro: eta=-1 is out of range"),
])  # fmt: skip
def test_wrong_settings_are_told_before_training(methods, changes, words, args):
    def never(seed):
        raise AssertionError("a model was made")

    with pytest.raises(SettingsError, match=words):
        compare_generalisation(methods, never, sources("red", "green"), args, BUDGET, **changes)


def test_one_source_and_a_network_without_batch_norm_are_told(args):
    with pytest.raises(SettingsError, match="needs two sources or more, but there is red alone"):
        compare_generalisation(["joint"], network, sources("red"), args, BUDGET)
    with pytest.raises(SettingsError, match="There is no source"):
        Sources({})
    with pytest.raises(ModelError, match="BertForSequenceClassification has no BatchNorm: there it would be joint"):
        compare_generalisation(
            ["joint", "per_domain_bn"],
            lambda seed: tiny.TRANSFORMERS["bert"]()[0],
            sources("red", "green"),
            args,
            BUDGET,
        )
