"""Test rows choose nothing: with other labels or other inputs of the test split, everything that chooses chooses the same.

Whatever in ``selection`` is named like a choice, or gives an ``Outcome``, is found by itself and wants a line in
``CHOICES``.
"""

import importlib
import inspect
import pkgutil
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from advice_cases import case
from backbones.test_pooled_encoder import encoder
from bright_rows import BUDGET as RACE_BUDGET
from bright_rows import bright_data, make_model, race, race_arguments
from hub.sharing_cases import tokenizer
from selection.adapting.domain_data import domains
from selection.generalising.source_data import NAMES, network, prepared, sources
from selection.multitasking.test_comparing import task
from selection.unseen_classes.test_comparing import CLASSES, made_up
from spoken_rows import speller, spoken_data
from transformers import TrainerCallback, TrainingArguments

from hf_transfer_kit import load_data, load_model, prepare_data, replace_head, selection
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.features.fingerprints import weights_fingerprint
from hf_transfer_kit.metrics.transcripts import collapsed
from hf_transfer_kit.selection import (
    DANN_MNIST,
    Budget,
    OtherSource,
    compare_sources,
    compare_strategies,
    make_strategy,
    rank_sources,
    recommend,
    search_freeze_depth,
)
from hf_transfer_kit.selection.adapting import SELECT, Domains, TargetAlone, compare_adaptations, compare_source_free
from hf_transfer_kit.selection.adapting.methods import make_method
from hf_transfer_kit.selection.adapting.open_target import find_rejection
from hf_transfer_kit.selection.advice import Experience, Settings
from hf_transfer_kit.selection.contest.bootstrap import (
    accuracy_interval,
    metric_interval,
    paired_bootstrap,
    pooled_bootstrap,
)
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.outcome import Outcome
from hf_transfer_kit.selection.finetuning.elimination import eliminate
from hf_transfer_kit.selection.finetuning.running import Run
from hf_transfer_kit.selection.generalising import compare_generalisation
from hf_transfer_kit.selection.measures.pooling_choice import choose_pooling
from hf_transfer_kit.selection.multitasking import TaskSet, compare_multitask
from hf_transfer_kit.selection.unseen_classes import NamedRows, SplitFeatures, compare_zero_shot
from hf_transfer_kit.selection.unseen_classes.fitting import fitted
from hf_transfer_kit.zero_shot import AttributeTable, random_hold_outs

BUDGET = Budget(12, 6, evaluations=2, learning_rate=3e-3)
FEW = replace(BUDGET, max_steps=4, learning_rate=1e-3)
"""So short that methods still say different things of some rows."""


class Found(NamedTuple):
    """What was chosen, the chosen one first, and what a choice by test rows would have read.

    Args:
        choice: Everything that is to stay as it is, whatever test rows hold.
        tests: Candidate -> its figure on test rows, larger is better.
        said: Name of a split, source or task -> what the chosen one says of its rows: (rows,), or (runs, rows) of
            several runs.
        rival: The same of one that was not chosen, where that is known.
        points: Step -> accuracy on validation rows, of the chosen run.
    """

    choice: tuple
    tests: dict | None = None
    said: dict | None = None
    rival: dict | None = None
    points: dict | None = None


def as_they_are(rows, name="test"):
    """Leaves test rows alone."""


def against(rows, name="test", *, said=None, rival=None):
    """Labels that call the chosen network wrong everywhere, or, where its predictions are not known, the right one.

    They are what its rival says. Elsewhere the other classes take turns, which is more than other names for classes.
    """
    key = "labels" if hasattr(rows, "labels") else "classes"
    true = np.asarray(getattr(rows, key))
    wrong, better = (np.atleast_2d((of or {}).get(name, true)) for of in (said, rival))
    labels = []
    for row in range(len(true)):
        others = np.setdiff1d(np.arange(true.max() + 1), wrong[:, row])
        likeliest = [label for label in better[:, row] if rival and label in others]
        labels.append(likeliest[0] if likeliest else others[row % len(others)])
    labels = np.array(labels)
    setattr(rows, key, torch.as_tensor(labels) if key == "labels" else labels)


def noise(rows, name="test"):
    """Inputs that have nothing to do with the task, ten times as large."""
    key = "images" if hasattr(rows, "images") else "values"
    generator = torch.Generator().manual_seed(7)
    setattr(rows, key, 10 * torch.randn(getattr(rows, key).shape, generator=generator))


@torch.no_grad()
def said_of(model, rows, **more):
    """The class that a network names for each row."""
    return model.eval()(pixel_values=rows.values, **more)["logits"].argmax(-1).numpy()


def weights(model):
    return weights_fingerprint(model.state_dict())


def accuracies(results, name):
    return {getattr(result, name): result.test["accuracy"] for result in results}


def bright(spoil):
    data = bright_data()
    spoil(data.test)
    return data


RANDOM = ("head_only:head=random", "full:head=random")
"""Where runs of other seeds are to differ."""


def of_race(folder, spoil, texts=RANDOM, seeds=(0, 2), **options):
    found = race(bright(spoil), race_arguments(folder), texts, seeds=seeds, **options)
    tests = accuracies(found.results, "strategy")
    gone = tuple((entry.strategy, entry.steps) for entry in found.eliminated)
    validation = tuple((result.validation["accuracy"], result.curve) for result in found.results)
    if len(seeds) > 1 and spoil not in (as_they_are, noise):  # another run of the winner is better there
        runs = found.result(found.winner).test_by_seed
        assert found.model_metrics["accuracy"] == min(runs) < max(runs)
    choice = (found.winner, gone, tuple(tests), validation, weights(found.model))
    return Found(choice, tests, {"test": found.predicted})


def of_soup(folder, spoil):
    """Runs of one pretrained network; where labels are others, the test rows would have another soup."""
    data = bright(spoil)
    for rows in (data.train, data.validation):
        rows.images = rows.images - 1.8 * rows.labels.view(-1, 1, 1, 1)

    def from_one(seed):
        return replace_head(make_model(0), 2, seed=seed)

    budget = Budget(16, 4, evaluations=1, learning_rate=3e-3)
    found = compare_strategies(from_one, data, RANDOM[::-1], race_arguments(folder), budget, seeds=(0, 1, 2), soup=True)
    assert "is the mean of" in found.soup
    validation = tuple(result.validation["accuracy"] for result in found.results)
    return Found(
        (found.winner, found.soup, validation, weights(found.model)), accuracies(found.results, "strategy"),
        {"test": found.predicted},
    )  # fmt: skip


def of_transcripts(folder, spoil):
    """Where labels are others they are what the strategy says that is behind on validation: of test rows it is best."""
    data, texts = spoken_data(), ["lp_ft:full_rate=0.001", "full"]
    budget = Budget(48, 16, evaluations=1, learning_rate=2e-2)
    if spoil is noise:
        waves = [10 * np.random.default_rng(row).normal(size=len(w)) for row, w in enumerate(data.test.values)]
        data = replace(data, test=Rows(waves, data.test.classes, "wave"))
    elif spoil is not as_they_are:
        behind = compare_strategies(speller, data, texts[:1], race_arguments(folder), budget)
        said = [collapsed(path) or [1] for path in behind.predicted.tolist()]
        data = replace(data, test=Rows(data.test.values, said, "wave"))
    found = compare_strategies(speller, data, texts, race_arguments(folder), budget)
    assert found.winner == "full"
    validation = tuple(tuple(result.validation.items()) for result in found.results)
    tests = {result.strategy: -result.test["error_rate"] for result in found.results}
    if spoil is not as_they_are and spoil is not noise:
        assert max(tests, key=tests.get) == texts[0]
    return Found((found.winner, validation, weights(found.model)), tests)


def of_halving_in_a_race(folder, spoil):
    texts = ["head_only", "full", "small_lr", "from_scratch"]
    return of_race(folder, spoil, texts, seeds=(0,), reduction_factor=2)


def of_halving(folder, spoil):
    strategies = [make_strategy(text) for text in ("head_only", "full", "small_lr", "wise_ft", "from_scratch")]
    contest = Contest(Run, race_arguments(folder), Budget(40, 4))
    left, gone = eliminate(strategies, make_model, bright(spoil), contest, reduction_factor=2, seed=0)
    assert gone
    return Found((tuple(left), gone))


def of_depths(folder, spoil):
    found = search_freeze_depth(
        make_model, bright(spoil), race_arguments(folder), RACE_BUDGET, depths=(0, 1, 3), seeds=(0, 1), share=1.0,
        cache_budget=0,
    )  # fmt: skip
    measured = tuple((result.depth, result.rung, result.accuracy) for result in found.results)
    return Found((found.strategy, found.sentence, measured), {r.strategy: r.test_accuracy for r in found.results})


def of_other_sources(folder, spoil):
    data, args, texts = bright(spoil), race_arguments(folder), ["head_only", "full", "small_lr"]
    mine = race(data, args, texts[:1])
    other = OtherSource("other", lambda seed: make_model(seed + 5), data)
    (found,) = compare_sources(mine, "mine", [other], texts, args, Budget(12, 4, learning_rate=1e-3))
    return Found((found.result.strategy, found.result.validation["accuracy"]), {"other": found.result.test})


def arguments(folder):
    return TrainingArguments(str(folder), use_cpu=True, report_to=[], disable_tqdm=True, per_device_train_batch_size=6)


def blurred(pair):
    """The same with noise on the target's rows that are judged, so that networks say different things of some."""
    generator = torch.Generator().manual_seed(3)
    for rows in (pair.target.validation, pair.target.test):
        rows.values = rows.values + 0.4 * torch.randn(rows.values.shape, generator=generator)
    return pair


def of_adapting(folder, spoil, splits=("test",)):
    pair = blurred(domains())
    for split in splits:
        spoil(getattr(pair.target, split), split)
    found = compare_adaptations(["source_only", "dann", "mcc"], network, pair, arguments(folder), FEW)
    kept = tuple((result.kept_steps, tuple(result.scores.values())) for result in found.results)
    return of_target(found, pair.target, kept)


def of_target(found, target, kept):
    """What a comparison on a target has chosen, and what the network that is kept says of its rows."""
    said = {"test": found.run.predicted, "validation": said_of(found.run.model, target.validation)}
    (chosen,) = (result for result in found.results if result.method == found.chosen)
    points = {point.step: point.accuracy for point in chosen.points}
    choice = (found.chosen, chosen.kept_steps[0], kept, weights(found.run.model))
    return Found(choice, accuracies(found.results, "method"), said, points=points)


def of_source_free(folder, spoil, splits=("test",)):
    target = blurred(domains()).target
    for split in splits:
        spoil(getattr(target, split), split)
    alone = TargetAlone(target, ("train", "validation", "test"), NAMES)
    methods = ["source_model", "tent", "shot"]
    found = compare_source_free(methods, taught, alone, arguments(folder), replace(FEW, learning_rate=3e-3))
    return of_target(found, target, tuple(result.kept_steps for result in found.results))


def taught():
    """A network that knows the source a little, so that methods without a source end at different ones."""
    model, train = network(0), domains().source.train
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(3):
        model(pixel_values=train.values, labels=torch.as_tensor(train.classes)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def of_rejecting(folder, spoil, splits=("test",)):
    pair = Domains(prepared("red"), prepared("grey"), labelled=(), pretrained=False)
    for split in splits:
        spoil(getattr(pair.target, split), split)
    args, method = arguments(folder), make_method("source_only")
    run = compare_adaptations([method], network, pair, args, BUDGET).run
    choice, unknown = find_rejection(method, run, network, pair, args, BUDGET, select=SELECT, held_out=[2])
    return Found((choice.rejection, unknown))


class Notes(TrainerCallback):
    """Notes what a run's network says of some rows when its training ends."""

    def __init__(self, note, rows, **more):
        self.note, self.rows, self.more = note, rows, more

    def on_train_end(self, args, state, control, model=None, **kwargs):
        for name, rows in self.rows.items():
            more = dict.fromkeys(self.more, name)
            self.note[name] = said_of(model, rows, **more)


def of_generalising(folder, spoil):
    used, notes = sources("red", "green"), {}
    for name, rows in used.rows.items():
        spoil(rows.test, name)

    def left_out(text, seed):
        method, _, source = text.partition(" without ")
        return [Notes(notes.setdefault(method, {}), {source: used.rows[source].test})] if source else []

    methods = ["joint", "joint:average=swad"]
    found = compare_generalisation(methods, network, used, arguments(folder), FEW, callbacks=left_out)
    means = tuple(result.mean for result in found.found.results)
    tests = {
        method: np.mean([np.mean(of_rows == used.rows[name].test.classes) for name, of_rows in each.items()])
        for method, each in notes.items()
    }
    chosen = found.found.chosen
    (rival,) = (said for method, said in notes.items() if method != chosen)
    return Found((chosen, means, weights(found.run.model)), tests, notes[chosen], rival)


def of_multitasking(folder, spoil):
    tasks, notes = TaskSet([task("shape"), task("other", seed=9)], pretrained=False), {}
    for each in tasks.tasks:
        spoil(each.prepared.test, each.name)
    rows = {each.name: each.prepared.test for each in tasks.tasks}

    def together(text, seed):
        return [Notes(notes.setdefault(text, {}), rows, task=True)] if text in methods else []

    methods = ["single", "multitask", "sequential"]
    found = compare_multitask(methods, network, tasks, arguments(folder), FEW, callbacks=together, source_task="other")
    tests = {result.method: np.mean([f.test for f in result.figures.values()]) for result in found.results[1:]}
    validation = tuple(tuple(f.validation for f in result.figures.values()) for result in found.results)
    said = notes.pop(found.chosen)
    (rival,) = notes.values()
    for name in rows:  # one row is left to it, for a gain over a task alone that is never right is not defined
        rival[name][-1], said[name][-1] = said[name][-1], -1
    return Found((found.chosen, validation, weights(found.model)), tests, said, rival)


def of_unseen_classes(folder, spoil):
    values = np.random.default_rng(5).integers(0, 2, (8, 6)).astype(float)
    table = AttributeTable(CLASSES, tuple(f"has {i}" for i in range(6)), values)
    features = made_up(table, noise=6.0, seed=4)
    test = Rows(features.test.features, features.test.places(CLASSES).numpy(), None)
    spoil(test)
    test = NamedRows(test.values.double(), tuple(CLASSES[place] for place in test.classes))
    features = SplitFeatures(features.model, features.train, test)
    splits = random_hold_outs(CLASSES, 2, count=2, seed=2)
    make = lambda index, split: features  # noqa: E731
    found = compare_zero_shot(["prototype", "sae"], make, table, splits, with_labels=False)
    figures = tuple(each for result in found.found.results for each in result.splits)
    if spoil is as_they_are:  # another split than the first is better there
        first, second = (each.harmonic_mean for each in found.found.result(found.found.chosen).splits)
        assert first < second
    learned = tuple((each.options, each.gamma, each.pseudo_harmonic) for each in figures)
    tests = {result.name: result.mean("harmonic_mean") for result in found.found.results}
    chosen = found.found.chosen
    said, rival = (
        {"test": np.stack([named(fitted(name, features, table, split, 0), split) for split in splits])}
        for name in sorted(tests, key=lambda name: name != chosen)
    )
    return Found((chosen, learned, found.model.config.gamma, weights(found.model)), tests, said, rival)


def named(fit, split):
    """The class of each test row, as a place in ``CLASSES``, by scores that are lowered by gamma."""
    lowered = fit.scores - fit.gamma * np.isin(split.classes, split.seen)
    return np.array([CLASSES.index(split.classes[place]) for place in lowered.argmax(1)])


def of_advice(folder, spoil):
    data = prepared("red")
    spoil(data.test)
    shares = {2: (0.7, 0.6), 50: (0.6, 0.7), 200: (0.5, 0.8)}
    cases = tuple(case(rows, target=f"t{rows}", head_only=a, full=b) for rows, (a, b) in shares.items())
    known = Experience(cases, Settings(0.3, 100.0, 0.1), "command", {"within_a_point": 1.0})
    found = recommend(network(0), data, budget=BUDGET, experience=known, cache_dir=folder)
    return Found((found.strategy, found.plan, found.outlook, replace(found.measures, seconds=0.0)))


def of_ranking(folder, spoil):
    loaded = load_data("digits", train_size=60)
    if spoil is not as_they_are:  # a table is never changed in place: rows of another split in its stead
        loaded = replace(loaded, test=loaded.train if spoil is noise else loaded.validation)
    found = rank_sources([DANN_MNIST, "dann_mnist_paper"], loaded, draws=2, scores=["log_me"], cache_dir=folder)
    return Found(tuple((source.name, source.score) for source in found.sources))


def of_pooling(folder, spoil):
    folder.mkdir(exist_ok=True)
    lines = [f"w{row % 5} w{3 + row % 2} w{row % 7},{'ab'[row % 2]}" for row in range(60)]
    (folder / "texts.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    encoder("bert", folder / "network")
    data = prepare_data(load_data(folder / "texts.csv"), tokenizer())
    if spoil is not as_they_are:
        data = replace(data, test=data.train if spoil is noise else data.validation)
    make = partial(load_model, folder / "network", num_labels=2)
    return Found(tuple(vars(choose_pooling(lambda pooling: make(pooling=pooling), data, cache_dir=folder)).items()))


CHOICES = {
    compare_strategies: (of_race, of_halving_in_a_race, of_soup, of_transcripts),
    eliminate: (of_halving,),
    search_freeze_depth: (of_depths,),
    compare_sources: (of_other_sources,),
    compare_adaptations: (of_adapting,),
    compare_source_free: (of_source_free,),
    find_rejection: (of_rejecting,),
    compare_generalisation: (of_generalising,),
    compare_multitask: (of_multitasking,),
    compare_zero_shot: (of_unseen_classes,),
    recommend: (of_advice,),
    rank_sources: (of_ranking,),
    choose_pooling: (of_pooling,),
}
CHOOSING = ("advise", "choose", "compare", "eliminate", "find", "rank", "recommend", "search", "select")
"""First words of what chooses."""


def functions():
    """The public functions of ``selection``, where they are written."""
    for found in pkgutil.walk_packages(selection.__path__, f"{selection.__name__}."):
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == found.name and not name.startswith("_"):
                yield name, value


def test_whatever_chooses_has_a_line_here():
    assert {value for name, value in functions() if name.partition("_")[0] in CHOOSING} == set(CHOICES)


def test_every_kind_of_outcome_comes_from_what_has_a_line_here():
    kinds = {kind for kind in Outcome.__subclasses__() if kind.__module__.startswith(selection.__name__)}
    given = {function.__annotations__["return"] for function in CHOICES}
    assert {kind.__name__ for kind in kinds} <= given
    assert len(kinds) >= 4


SCENARIOS = [scenario for scenarios in CHOICES.values() for scenario in scenarios]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Intervals of a few draws: they say how sure a figure is, and choose nothing."""
    for interval in (pooled_bootstrap, paired_bootstrap, accuracy_interval, metric_interval):
        monkeypatch.setitem(interval.__kwdefaults__, "draws", 20)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_other_test_rows_change_no_choice(scenario, tmp_path):
    found = scenario(tmp_path / "given", as_they_are)
    labels = scenario(tmp_path / "labels", partial(against, said=found.said, rival=found.rival))
    inputs = scenario(tmp_path / "inputs", noise)
    assert labels.choice == found.choice
    assert inputs.choice == found.choice
    if found.tests is not None:  # and they were read: what was chosen is not what they would have chosen
        assert labels.tests != found.tests
    if found.said:  # now another one than what was chosen is the best there
        assert labels.tests[found.choice[0]] < max(labels.tests.values())


@pytest.mark.parametrize(
    "scenario", [of_adapting, of_source_free, of_rejecting], ids=lambda scenario: scenario.__name__
)
def test_labels_of_the_target_change_no_choice(scenario, tmp_path):
    """Neither what is kept of a run nor which method, by labels of the rows that are adapted to and scored on."""
    found = scenario(tmp_path / "given", as_they_are)
    other = scenario(tmp_path / "other", partial(against, said=found.said), splits=("train", "validation"))
    assert other.choice == found.choice
    if found.points:  # another step than the one that is kept is the best there
        assert other.points[found.choice[1]] == 0 < max(other.points.values())
