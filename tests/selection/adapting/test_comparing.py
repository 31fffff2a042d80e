"""Methods side by side: kept without labels of the target, and what is told with them afterwards."""

import functools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from selection.adapting.domain_data import NAMES, domains, network, rows
from torch.utils.data import default_collate
from transformers import TrainingArguments

from hf_transfer_kit import DomainAdversarialModel
from hf_transfer_kit.adaptation import OBJECTIVES
from hf_transfer_kit.backbones.feature_maps import logits_layer
from hf_transfer_kit.data import ClassBalance
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.reports.layer_rows import layer_rows
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.adapting import Domains, compare_adaptations, make_method, run_adaptation
from hf_transfer_kit.selection.adapting.running import begun
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts

BUDGET = Budget(8, 8, evaluations=4, learning_rate=2e-3)


@pytest.fixture
def args(tmp_path):
    return TrainingArguments(
        str(tmp_path), use_cpu=True, report_to=[], per_device_train_batch_size=8, disable_tqdm=True
    )


def run(text, args, data=None, *, select="bnm", seed=0, budget=BUDGET):
    return run_adaptation(make_method(text), network, data or domains(), args, budget, seed=seed, select=select)


def test_what_is_kept_is_the_best_by_its_score(args):
    found = run("dann:view=1", args)
    assert [point.step for point in found.points] == [2, 4, 6, 8]
    best = max(found.points, key=lambda point: point.scores["bnm"])
    assert found.kept_step == best.step
    assert found.scores == best.scores
    other = run("dann:view=1", args, select="mean_entropy")
    assert other.kept_step == min(other.points, key=lambda point: point.scores["mean_entropy"]).step
    assert run("dann:view=1", args, select="last").kept_step == 8


@pytest.mark.parametrize("select", ["bnm", "mean_entropy", "last"])
def test_a_run_ends_a_third_of_its_steps_after_its_score_has_flattened(args, select):
    budget = Budget(300, 8, evaluations=75, learning_rate=2e-3, patience=2)
    found = run("dann:view=1", args, select=select, budget=budget)
    steps = [point.step for point in found.points]
    begin = 3 * found.steps // 4
    assert found.ended == "flat"
    assert 75 + 2 * 4 <= begin < 225
    assert steps == [*range(4, found.steps, 4), found.steps]
    sign, name = (-1, select) if select == "mean_entropy" else (1, "bnm")
    scores = {point.step: sign * point.scores[name] for point in found.points}
    counted = [scores[step] for step in steps if 75 <= step <= found.steps - found.steps // 4 + 1]
    assert max(counted[-2:]) - max(counted[:-2]) <= 0.01 * (max(counted) - min(counted))
    assert found.kept_step == (found.steps if select == "last" else max(scores, key=scores.__getitem__))


def test_a_baseline_ends_by_accuracy_on_labelled_rows(args):
    found = run("source_only", args, budget=Budget(300, 8, evaluations=75, learning_rate=2e-3, patience=2))
    assert found.ended == "flat"
    assert found.steps < 150
    assert {point.step for point in found.points} >= {4, 8, found.steps}


def test_what_does_not_adapt_goes_by_accuracy_on_labelled_rows(args):
    for text in ("source_only", "adabn", "target_supervised"):
        found = run(text, args)
        best = max(point.scores["source_accuracy"] for point in found.points)
        assert found.scores["source_accuracy"] == best
        assert run(text, args, select="last").kept_step == 8


def test_the_model_holds_the_weights_that_were_kept(args):
    """A run that stops where the other one kept its weights has the same ones."""
    found = run("mcc:reestimate=false", args, select="proxy_a")
    whole = run("mcc:reestimate=false", args, select="last")
    names = [name for name, _ in found.model.named_parameters()]
    same = all(torch.equal(found.model.state_dict()[name], whole.model.state_dict()[name]) for name in names)
    assert same == (found.kept_step == 8)
    assert found.points[-1].scores == whole.points[-1].scores


def test_the_source_is_seen_in_the_view_that_was_asked_for(args):
    plain, unchanged, changed = (run(f"mmd{options}", args) for options in ("", ":source_view=0", ":source_view=1"))
    assert plain.points == unchanged.points
    assert plain.points[0].scores != changed.points[0].scores


@pytest.mark.parametrize("text", ["adamatch:source_weight=1", "clusters"])
def test_labels_of_the_target_change_nothing_but_what_is_told(args, text):
    """With and without target labels: the same weights, scores and choice."""
    with_labels, without = run(text, args), run(text, args, domains(()))
    state = without.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in with_labels.model.state_dict().items())
    assert [point.scores for point in with_labels.points] == [point.scores for point in without.points]
    assert without.test == {}
    assert all(point.accuracy is None for point in without.points)
    assert with_labels.test["accuracy"] == np.mean(with_labels.true == with_labels.predicted)
    shuffled = domains()
    for split in ("train", "validation", "test"):
        rows = getattr(shuffled.target, split)
        rows.classes = np.roll(rows.classes, 1)
    wrong = run(text, args, shuffled)
    assert all(torch.equal(value, state[name]) for name, value in wrong.model.state_dict().items())


def right_rows(network, data):
    with torch.no_grad():
        said = network.eval()(pixel_values=data.train.values).logits.argmax(1)
    return float((said.numpy() == data.train.classes).mean())


def test_a_head_begins_solved_where_the_method_or_its_text_says(args):
    source = domains().source
    first = network(0).state_dict()
    plain, solved = begun(make_method("mcc"), network(0), source, args.device)
    assert not solved
    assert all(torch.equal(value, first[name]) for name, value in plain.state_dict().items())
    for text in ("mcc:head=probe", "clusters"):
        classifier, solved = begun(make_method(text), network(0), source, args.device)
        assert solved
        assert right_rows(classifier, source) == 1.0
        moved = {name for name, value in classifier.state_dict().items() if not torch.equal(value, first[name])}
        weights = {name for name, _ in classifier.named_parameters()}
        assert {name.rpartition(".")[0] for name in moved & weights} == {logits_layer(classifier)[0]}
        assert moved - weights  # statistics of BatchNorm are those of the source's rows
    assert not begun(make_method("clusters:head=random"), network(0), source, args.device)[1]


def test_a_head_that_cannot_be_solved_begins_at_random_or_is_a_sentence_where_it_was_asked_for(args, monkeypatch):
    monkeypatch.setattr(HeadStarts, "why_not", lambda self, model: "Its logits are a table's.")
    assert not begun(make_method("clusters"), network(0), domains().source, args.device)[1]
    with pytest.raises(SettingsError, match=r"mcc:head=probe: Its logits are a table's. Leave head=probe out"):
        run("mcc:head=probe", args)


def test_a_solved_head_is_no_fresh_part(args):
    pretrained = replace(domains(), pretrained=True)
    for text, factor in (("mcc", 10), ("mcc:head=probe", 1)):
        found = run(text, args, pretrained)
        assert max(found.rates.values()) / min(found.rates.values()) == pytest.approx(factor), text


def test_rows_are_labelled_ten_times_a_run_by_the_network_as_it_then_is(args, monkeypatch):
    said = []

    def labelled(self, features, probabilities):
        said.append(probabilities)
        return probabilities.argmax(1)

    monkeypatch.setattr(OBJECTIVES["clusters"], "target_labels", labelled)
    found = run("clusters", args, budget=Budget(20, 8, evaluations=2, learning_rate=2e-3))
    assert len(said) == 11  # before training, and after every second step
    assert [len(probabilities) for probabilities in said] == [24] * 11
    assert not torch.equal(said[0], said[1])
    assert torch.equal(found.model.objective.pseudo_labels, said[-1].argmax(1))
    assert [entry["pseudo_labelled"] for entry in found.log if "loss" in entry] == [1.0] * 20


def test_source_only_sees_no_target_and_adabn_its_statistics_alone(args):
    weights = {}
    for text in ("source_only", "adabn"):
        found = run(text, args, select="last")
        weights[text] = found.model.network.state_dict()
    for name, value in weights["source_only"].items():
        assert torch.equal(value, weights["adabn"][name]) == ("running" not in name and "tracked" not in name), name
    moved = domains()
    moved.target.train.values = moved.target.train.values + 5
    again = run("source_only", args, moved, select="last").model.network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in weights["source_only"].items())


def test_target_supervised_learns_the_target(args):
    budget = Budget(60, 8, evaluations=2, learning_rate=2e-3)
    assert run("target_supervised", args, select="last", budget=budget).test["accuracy"] == 1.0
    with pytest.raises(DataError, match="learns from labels of the target, which has none"):
        run("target_supervised", args, domains(("test",)))


def test_a_comparison_chooses_without_labels_and_tells_how_well(args):
    told = []
    found = compare_adaptations(
        ["source_only", "dann", "target_supervised", "shallow:alignment=standardised"],
        network,
        domains(),
        args,
        BUDGET,
        seeds=[0, 1],
        on_result=lambda result: told.append(result.method),
    )
    assert told == [result.method for result in found.results]
    assert found.chosen in ("source_only", "dann")
    best = max(found.results[:2], key=lambda result: result.scores["bnm"])
    assert found.chosen == best.method
    dann = found.results[1]
    assert dann.test["accuracy"] == pytest.approx(np.mean(dann.test_by_seed))
    assert dann.test_spread["accuracy"] == pytest.approx(np.std(dann.test_by_seed, ddof=1))
    assert found.results[2].uses_target_labels
    assert not dann.uses_target_labels
    assert len(found.results[3].test_by_seed) == 1
    assert {agreement.runs for agreement in found.agreements} == {2}
    assert [a.score for a in found.agreements][:2] == ["source_accuracy", "mean_entropy"]
    after = found.feature_maps[-1]
    titles = ["trained on the source alone"] + ["adapted: dann"] * (found.chosen == "dann")
    assert [shown.title for shown in found.feature_maps] == titles
    assert sum(after.is_target) == 12
    assert len(after.points) == len(after.classes) == 24
    assert not after.predicted


def test_without_labels_there_is_no_agreement_and_maps_show_predictions(args):
    found = compare_adaptations(["dann"], network, domains(()), args, BUDGET)
    assert found.agreements == ()
    assert found.results[0].test == {}
    assert found.results[0].test_by_seed == ()
    assert found.feature_maps[0].predicted


@pytest.mark.parametrize(
    ("methods", "seeds", "select", "words"),
    [
        (["dann", "dann"], [0], "bnm", "none twice"),
        (["dann"], [], "bnm", "is no list"),
        (["target_supervised"], [0], "bnm", "trains a network that could be kept"),
        (["dann"], [0], "accuracy", "select='accuracy' is unknown; choose last or one of"),
    ],
)
def test_wrong_settings_are_told_before_training(args, methods, seeds, select, words):
    def never(seed):
        raise AssertionError("a model was made")

    with pytest.raises(SettingsError, match=words):
        compare_adaptations(methods, never, domains(), args, BUDGET, seeds=seeds, select=select)


def test_rates_are_told_by_the_names_of_the_classifier_and_intervals_hold_the_accuracy(args):
    pretrained = replace(domains(), pretrained=True)
    found = compare_adaptations(["source_only", "dann"], network, pretrained, args, BUDGET, seeds=[0])
    rows = layer_rows(found.run.model.export_classifier(), found.run.rates)
    # The head begins with random weights, and learns ten times as fast.
    assert [row["learning_rate"] for row in rows] == pytest.approx([2e-3] * (len(rows) - 1) + [2e-2])
    for result in found.results:
        low, high = result.test_interval
        assert low <= result.test["accuracy"] <= high
    unlabelled = compare_adaptations(["source_only"], network, domains(()), args, BUDGET, seeds=[0])
    assert unlabelled.results[0].test_interval is None


class TestClassesOfVeryDifferentSizes:
    @staticmethod
    def lopsided(**balance):
        found = domains()
        found.source.train.classes = np.array([0] * 18 + [1] * 4 + [2] * 2)
        found.source.balance = ClassBalance(**balance)
        return found

    def test_weights_of_the_source_make_its_loss_and_are_not_saved(self, args):
        model = run("dann:view=1", args, self.lopsided(weights="balanced")).model.train()
        weights = torch.tensor([24 / 54, 24 / 12, 24 / 6])
        assert torch.allclose(model.class_weights, weights)
        logits, labels = torch.randn(24, 3), torch.tensor([0] * 18 + [1] * 4 + [2] * 2)
        by_class = [torch.nn.functional.cross_entropy(logits[labels == c], labels[labels == c]) for c in range(3)]
        assert float(model._class_loss(logits, labels)) == pytest.approx(float(sum(by_class) / 3), rel=1e-5)
        assert "class_weights" not in model.state_dict()
        plain = run("dann:view=1", args, self.lopsided()).model
        assert plain.class_weights is None
        state = plain.network.state_dict()
        assert not all(torch.equal(value, state[name]) for name, value in model.network.state_dict().items())

    @pytest.mark.parametrize("text", ["dann:view=1", "source_only"])
    def test_a_balanced_sampler_shows_all_classes_as_often(self, text, args, monkeypatch):
        seen = []
        forward = DomainAdversarialModel.forward

        @functools.wraps(forward)
        def watched(self, *given, labels=None, **batch):
            if self.training and labels is not None:
                seen.extend(labels.tolist())
            return forward(self, *given, labels=labels, **batch)

        monkeypatch.setattr(DomainAdversarialModel, "forward", watched)
        run(text, args, self.lopsided(sampler="balanced"), budget=Budget(27, 2, evaluations=1))
        counts = np.bincount(seen)
        assert counts.max() <= 1.5 * counts.min()


def test_a_class_that_the_target_lacks_is_told(args):
    """Two of three classes: an aligned run was called healthy though the domains cannot be alike."""

    def splits(seed, *, target):
        sizes = {"train": 90, "validation": 400, "test": 30}
        made = {name: rows(size, seed + i, target=target) for i, (name, size) in enumerate(sizes.items())}
        if target:
            made = {name: Rows(r.values[r.classes < 2], r.classes[r.classes < 2], r.name) for name, r in made.items()}
        return SimpleNamespace(
            **made, collator=default_collate, modality="image", reads="image", label_names=NAMES, balance=ClassBalance()
        )

    pair = Domains(splits(0, target=False), splits(10, target=True), labelled=(), pretrained=False)
    methods = ["source_only", "dann", "dann:shares=true"]
    found = compare_adaptations(methods, network, pair, args, Budget(60, 8, evaluations=1, learning_rate=5e-3))
    assert found.label_shift.sure > 0.1
    assert found.label_shift.target[2] < 0.05
    told = {result.method: [d.name for d in result.diagnoses] for result in found.results}
    assert "label shift" in told["dann"]
    assert "healthy" not in told["dann"]
    assert "label shift" not in told["source_only"] + told["dann:shares=true"]
