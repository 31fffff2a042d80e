"""The search over freeze depths: what runs on which rung, what is cached, what is chosen and said."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from transformers import TrainingArguments

from hf_transfer_kit import layer_groups, replace_head
from hf_transfer_kit.data import ClassBalance, PreparedData
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import (
    Budget,
    compare_strategies,
    depth_strategy,
    make_strategy,
    run_strategy,
    search_freeze_depth,
    strategy_text,
    with_found_depths,
)
from hf_transfer_kit.selection.finetuning import depth_boundaries as boundaries
from hf_transfer_kit.selection.finetuning import depth_search as module
from hf_transfer_kit.selection.finetuning.running import Run


class Collate:
    """Images as they are; a class, so that caches are told apart by what it is."""

    def __call__(self, rows):
        return {
            "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
            "labels": torch.tensor([row["labels"] for row in rows]),
        }


def split(rows: int, seed: int) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    classes = np.arange(rows) % 2
    images = torch.randn(rows, 3, 32, 32, generator=generator) + 2.0 * torch.tensor(classes).view(-1, 1, 1, 1)
    return Rows(images, classes, "pixel_values")


@pytest.fixture
def data():
    splits = {"train": split(16, 0), "validation": split(20, 1), "test": split(12, 2)}
    return PreparedData(**splits, collator=Collate(), modality="image", label_names=("dark", "bright"))


@pytest.fixture
def args(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TRANSFER_KIT_CACHE", str(tmp_path / "caches"))
    return TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], per_device_train_batch_size=4, disable_tqdm=True,
        remove_unused_columns=False,
    )  # fmt: skip


def make_model(seed: int):
    torch.manual_seed(0)
    return replace_head(tiny.TRANSFORMERS["resnet"]()[0], 2, seed=seed)


BODY = len(layer_groups(make_model(0)).body)


class Scripted:
    """Stands in for ``run_strategy``: accuracies by depth and steps, and what was asked for."""

    def __init__(self, accuracy) -> None:
        self.accuracy, self.asked = accuracy, []

    def __call__(self, strategy, make_model, data, args, budget, *, seed, callbacks, attach, heads, test):
        depth = {"full": 0, "head_only": BODY}.get(strategy.name, getattr(strategy, "k", None))
        self.asked.append((depth, budget.max_steps, seed, test, attach is not None))
        self.warmup = args.warmup_steps
        accuracy = self.accuracy(depth, budget.max_steps, seed)
        return Run(
            seed=seed,
            model=make_model(seed),
            validation={"accuracy": accuracy, "macro_f1": 1 - accuracy, "loss": 1 - accuracy},
            test={"accuracy": 0.5, "macro_f1": 0.25} if test else {},
            true=np.empty(0),
            predicted=np.empty(0),
            curve=(),
            seconds=1.0,
            trainable_parameters=0,
            total_parameters=0,
        )


@pytest.fixture
def scripted(monkeypatch):
    def use(accuracy):
        runs = Scripted(accuracy)
        monkeypatch.setattr(module, "run_strategy", runs)
        return runs

    return use


def test_the_network_of_these_tests_has_three_groups_before_the_head():
    assert BODY == 3


def test_every_depth_gets_a_short_run_and_the_best_a_whole_one(scripted, data, args):
    runs = scripted(lambda depth, steps, seed: {0: 0.5, 1: 0.9, 2: 0.85, 3: 0.2}[depth] + 0.01 * seed)
    heard = []
    found = search_freeze_depth(
        make_model, data, args, Budget(90, 4, evaluations=5), seeds=(0, 1, 2), share=1.0, on_result=heard.append
    )
    assert runs.asked[:4] == [(depth, 30, 0, False, depth > 0) for depth in range(4)]
    assert runs.asked[4:6] == [(1, 90, 0, True, True), (2, 90, 0, True, True)]
    assert runs.asked[6:] == [(depth, 90, seed, True, True) for depth in (1, 2) for seed in (1, 2)]
    assert found.chosen == 1
    assert found.strategy == "freeze_first:k=1"
    assert [(r.depth, r.rung, r.steps, len(r.seeds)) for r in heard[-2:]] == [(1, 2, 90, 3), (2, 2, 90, 3)]
    assert [r.rung for r in found.results] == [0, 2, 2, 0]
    assert [r.test_accuracy for r in found.results] == [None, 0.5, 0.5, None]
    own = found.result(1)
    assert own.accuracy == pytest.approx(0.91)
    assert own.error == pytest.approx(0.01 / 3**0.5)
    assert found.result(0).error == pytest.approx((0.5 * 0.5 / 20) ** 0.5)
    sizes = [group.num_parameters for group in layer_groups(make_model(0))]
    assert [r.trainable_parameters for r in found.results] == [sum(sizes[k:]) for k in range(4)]
    assert "the best of the depths compared last (the others: 2)" in found.sentence


def test_the_deeper_of_two_equal_depths_is_chosen_and_the_sentence_says_what_it_saves(scripted, data, args):
    scripted(lambda depth, steps, seed: {0: 0.5, 1: 0.80, 2: 0.79, 3: 0.2}[depth] + (seed - 1) * 0.05)
    found = search_freeze_depth(make_model, data, args, Budget(90, 4), share=1.0)
    assert found.chosen == 2
    assert "within one standard error (2.9%) of the best of those compared last (depth 1, 80.0%)" in found.sentence


@pytest.mark.parametrize(
    ("share", "full_runs", "rungs"),
    [
        (0.05, [], {0}),
        (0.3, [(0, 0), (2, 0)], {0, 1}),
        (0.4, [(0, 0), (2, 0), (0, 1), (2, 1)], {0, 2}),
        (0.8, [(0, 0), (2, 0), (0, 1), (0, 2), (2, 1), (2, 2)], {0, 2}),
    ],
)
def test_what_may_be_spent_decides_how_far_it_goes(scripted, data, args, share, full_runs, rungs):
    runs = scripted(lambda depth, steps, seed: [0.9, 0.8, 0.5, 0.4][depth])
    found = search_freeze_depth(make_model, data, args, Budget(90, 4), share=share)
    assert [asked[:3] for asked in runs.asked[:4]] == [(depth, 30, 0) for depth in range(4)]
    assert [(asked[0], asked[2]) for asked in runs.asked[4:]] == full_runs
    assert found.chosen == 0
    assert found.strategy == "full"
    assert {result.rung for result in found.results} == rungs


def test_cached_runs_choose_and_reach_what_uncached_ones_do(data, args, monkeypatch):
    cached = search_freeze_depth(make_model, data, args, Budget(12, 4), seeds=(0, 1), depths=(1, 3))
    assert [result.cached for result in cached.results] == [True, True]
    assert cached.seconds["caching"] > 0
    monkeypatch.setattr(
        boundaries, "cache_boundaries", lambda *_, **__: SimpleNamespace(depths=(), refused={}, seconds=0.0)
    )
    plain = search_freeze_depth(make_model, data, args, Budget(12, 4), seeds=(0, 1), depths=(1, 3))
    assert [result.cached for result in plain.results] == [False, False]
    for first, second in zip(cached.results, plain.results, strict=True):
        assert first.accuracy == pytest.approx(second.accuracy, abs=1e-6)
        assert first.test_accuracy == pytest.approx(second.test_accuracy, abs=1e-6)
        assert first.cost < second.cost
    assert cached.chosen == plain.chosen


def test_networks_that_differ_by_seed_before_the_head_train_uncached(data, args):
    def random_network(seed: int):
        torch.manual_seed(seed)
        return tiny.TRANSFORMERS["resnet"]()[0]

    found = search_freeze_depth(random_network, data, args, Budget(4, 4), seeds=(0, 1), depths=(1, 2), share=1)
    assert [result.cached for result in found.results] == [False, False]
    assert found.notes == ("Each seed begins with other weights before the head, so nothing could be computed once.",)
    assert max(len(result.seeds) for result in found.results) == 2


def test_a_depth_that_cannot_be_split_trains_uncached_and_is_named(scripted, data, args, monkeypatch):
    real = boundaries.cache_boundaries

    def refusing(model, datasets, depths, **options):
        found = real(model, datasets, [depth for depth in depths if depth != 2], progress=False, **options)
        return replace(found, refused={2: "The module 'x' is in the way."})

    monkeypatch.setattr(boundaries, "cache_boundaries", refusing)
    runs = scripted(lambda depth, steps, seed: 0.5)
    found = search_freeze_depth(make_model, data, args, Budget(90, 4))
    assert [asked[4] for asked in runs.asked[:4]] == [False, True, False, True]
    assert found.notes == ("Depth 2 was trained uncached: The module 'x' is in the way.",)


def test_the_last_layers_are_frozen_for_speech_and_nothing_is_cached(data, args, monkeypatch):
    monkeypatch.setattr(boundaries, "cache_boundaries", None)
    found = search_freeze_depth(make_model, data, args, Budget(4, 4), direction="last", depths=(0, 2), seeds=(0,))
    assert [result.strategy for result in found.results] == ["full", "freeze_last:k=2"]
    assert [result.group for result in found.results] == ["", layer_groups(make_model(0))[1].name]
    sizes = [group.num_parameters for group in layer_groups(make_model(0))]
    assert found.result(2).trainable_parameters == sizes[0] + sizes[3]
    assert "nothing could be computed once" in found.notes[0]
    moved = run_strategy(make_strategy("freeze_last:k=2"), make_model, data, args, Budget(4, 4), seed=0).model
    fresh = make_model(0).state_dict()
    same = [
        all(torch.equal(moved.state_dict()[name], fresh[name]) for name in group.parameters)
        for group in layer_groups(moved)
    ]
    assert same == [False, True, True, False]


def test_augmented_rows_are_not_cached(scripted, data, args, monkeypatch):
    monkeypatch.setattr(boundaries, "cache_boundaries", None)
    scripted(lambda depth, steps, seed: 0.5)
    found = search_freeze_depth(make_model, replace(data, describe={"augmented": True}), args, Budget(4, 4))
    assert "augmented anew each time" in found.notes[0]


@pytest.mark.parametrize(("given", "scaled"), [(9, 3), (0.1, 0.1), (0, 0)])
def test_warm_up_shrinks_with_the_budget(scripted, data, args, given, scaled):
    args.warmup_steps = given
    runs = scripted(lambda depth, steps, seed: [0.9, 0.1, 0.1, 0.1][depth])
    search_freeze_depth(make_model, data, args, Budget(90, 4), share=0.01)
    assert runs.warmup == scaled
    assert args.warmup_steps == given


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "middle"}, "choose 'first' or 'last'"),
        ({"depths": [4]}, r"depths=4 is out of range; give a whole number of 0 or more and at most 3"),
        ({"depths": []}, "is no list"),
        ({"seeds": (1, 1)}, "names one twice"),
        ({"seeds": ()}, "is no list"),
        ({"share": 0}, "outside"),
        ({"reduction_factor": 1}, "whole number from 2"),
    ],
)
def test_what_cannot_be_searched_is_a_sentence_before_any_run(scripted, data, args, options, message):
    runs = scripted(lambda depth, steps, seed: 0.5)
    with pytest.raises(SettingsError, match=message):
        search_freeze_depth(make_model, data, args, Budget(90, 4), **options)
    assert runs.asked == []


def test_ends_have_their_own_strategies():
    groups = layer_groups(make_model(0))
    texts = [strategy_text(depth_strategy(groups, depth)) for depth in range(4)]
    assert texts == ["full", "freeze_first:k=1", "freeze_first:k=2", "head_only"]


def test_auto_is_short_for_k_auto_and_needs_a_search():
    strategy = make_strategy("freeze_first:auto")
    assert strategy == make_strategy("freeze_first:k=auto")
    assert make_strategy(strategy_text(strategy)) == strategy
    strategy.validate(layer_groups(make_model(0)))
    assert (strategy.searched, make_strategy("freeze_last:auto").searched) == ("first", "last")
    with pytest.raises(SettingsError, match="has no depth yet"):
        strategy.callbacks(make_model(0))
    with pytest.raises(SettingsError, match="auto is no option of lora"):
        make_strategy("lora:auto")


def test_auto_becomes_what_was_found_and_is_not_run_twice(scripted, data, args):
    scripted(lambda depth, steps, seed: 0.5)
    given = [make_strategy(text) for text in ("full", "freeze_first:auto", "head_only")]
    strategies, searches = with_found_depths(given, make_model, data, args, Budget(4, 4), seeds=(0,))
    assert [strategy_text(strategy) for strategy in strategies] == ["full", "head_only"]
    assert [search.chosen for search in searches] == [3]


def test_a_race_searches_first(data, args):
    comparison = compare_strategies(make_model, data, ["freeze_first:auto"], args, Budget(4, 4), seeds=(0,))
    (search,) = comparison.depth_searches
    assert comparison.winner == search.strategy
    assert [result.depth for result in search.results] == [0, 1, 2, 3]


def test_the_datas_metric_chooses_the_depth(scripted, data, args):
    scripted(lambda depth, steps, seed: {0: 0.9, 1: 0.8, 2: 0.7, 3: 0.2}[depth])
    by_f1 = replace(data, balance=ClassBalance(metric="macro_f1"))
    found = search_freeze_depth(make_model, by_f1, args, Budget(90, 4), share=1.0)
    assert (found.chosen, found.metric) == (3, "macro_f1")
    assert found.result(3).accuracy == pytest.approx(0.8)
    assert found.result(3).test_accuracy == pytest.approx(0.25)
    assert "validation macro F1 80.0%" in found.sentence
    assert search_freeze_depth(make_model, data, args, Budget(90, 4), share=1.0).chosen == 0
