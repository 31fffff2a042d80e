"""Every comparison that is cut short goes on with what is missing, and ends as if it had not been cut."""

from dataclasses import fields, is_dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from selection.adapting.domain_data import domains
from selection.generalising.source_data import NAMES, network, prepared, sources
from selection.multitasking.test_comparing import task
from transformers import TrainerCallback, TrainingArguments

from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.errors import NotFiniteError
from hf_transfer_kit.metrics.row_metrics import RowMetric
from hf_transfer_kit.selection import (
    DANN_MNIST,
    Budget,
    compare_strategies,
    fresh_network,
    fresh_processor,
    search_freeze_depth,
)
from hf_transfer_kit.selection.adapting import TargetAlone, compare_adaptations, compare_source_free
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.generalising import compare_generalisation
from hf_transfer_kit.selection.multitasking import TaskSet, compare_multitask
from hf_transfer_kit.selection.unseen_classes import compare_zero_shot, trained_features
from hf_transfer_kit.zero_shot import digit_strokes, random_hold_outs

BUDGET = Budget(4, 6, evaluations=2, learning_rate=2e-3)


def adapting(args, **settings):
    methods = ["source_only", "dann", "adamatch:amount=0", "target_supervised"]
    return compare_adaptations(methods, network, domains(), args, BUDGET, seeds=(0, 1), **settings)


def without_source(args, **settings):
    target = domains().target
    alone = TargetAlone(target, ("train", "validation", "test"), NAMES)
    return compare_source_free(
        ["source_model", "tent", "shot"], lambda: network(0), alone, args, BUDGET, seeds=(0, 1), **settings
    )


def multitasking(args, **settings):
    tasks = TaskSet([task("shape"), task("height", "regression", seed=9)], pretrained=False)
    methods = ["single", "multitask", "lwf", "replay:rows=6"]
    return compare_multitask(methods, network, tasks, args, BUDGET, seeds=(0, 1), source_task="shape", **settings)


def generalising(args, **settings):
    return compare_generalisation(
        ["joint", "group_dro"], network, sources("red", "green"), args, BUDGET, seeds=(0, 1), **settings
    )


def halving(args, **settings):
    # Heads at random: 24 steps at this rate from a solved one make more of rounding than two ranks may differ by.
    methods = ["head_only:head=random", "full:head=random", "small_lr", "freeze_first:k=1,head=random"]
    budget = replace(BUDGET, max_steps=24)
    return compare_strategies(
        network, prepared("red"), methods, args, budget, seeds=(0, 1), reduction_factor=2, **settings
    )


def depths(args, **settings):
    budget = replace(BUDGET, max_steps=24)
    return search_freeze_depth(
        network, prepared("red"), args, budget, depths=(0, 1, 2), seeds=(0, 1), share=1.0, cache_budget=0, **settings
    )


@cache
def digits():
    return prepare_data(load_data("digits", train_size=120), fresh_processor(DANN_MNIST))


def unseen_classes(args, *, store=None, callbacks=lambda title, seed: []):
    table = digit_strokes()
    args.max_steps, args.learning_rate, args.remove_unused_columns = 4, BUDGET.learning_rate, False
    features = trained_features(
        lambda seed: fresh_network(DANN_MNIST, table.classes, seed=0), digits(), table, args, method="ale", store=store,
        batch_size=BUDGET.batch_size,
        callbacks=lambda title: callbacks(title, 0),
    )  # fmt: skip
    splits = random_hold_outs(table.classes, 3, count=3)
    return compare_zero_shot(["prototype"], features, table, splits, store=store)


COMPARISONS = {
    f.__name__: f for f in (adapting, without_source, multitasking, generalising, halving, depths, unseen_classes)
}


class Stop(TrainerCallback):
    """Notes which runs train; within the one numbered ``at`` everything stops."""

    def __init__(self, run, seen, at):
        self.run, self.seen, self.at = run, seen, at

    def on_train_begin(self, args, state, control, **kwargs):
        self.seen.append(self.run)

    def on_step_end(self, args, state, control, **kwargs):
        if len(self.seen) == self.at and state.global_step == 3:
            raise KeyboardInterrupt


def compared(name, folder, *, at=None, store=True):
    seen = []
    args = TrainingArguments(str(folder), use_cpu=True, report_to=[], disable_tqdm=True, per_device_train_batch_size=6)
    found = COMPARISONS[name](
        args,
        callbacks=lambda text, seed: [Stop((text, seed), seen, at)],
        store=RunStore(folder / "runs") if store else None,
    )
    return found, seen


def plain(value):
    """What can be compared, wall times aside."""
    if isinstance(value, RowMetric):
        return [value.rows, plain(value.observed)]
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.name not in ("seconds", "args")}
    if isinstance(value, torch.nn.Module):
        return {name: tensor.tolist() for name, tensor in value.state_dict().items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if "runtime" not in k and "_per_second" not in k}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and np.isnan(value) else value


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return cache(lambda name: compared(name, tmp_path_factory.mktemp(name), store=False))


@pytest.mark.parametrize("name", COMPARISONS)
def test_what_was_cut_goes_on(name, whole, tmp_path):
    expected, all_runs = whole(name)
    for stop in sorted({2, len(all_runs) // 2 + 1, len(all_runs)}):
        folder = tmp_path / str(stop)
        folder.mkdir()
        with pytest.raises(KeyboardInterrupt):
            compared(name, folder, at=stop)
        found, seen = compared(name, folder)
        assert seen == all_runs[stop - 1 :]
        assert plain(found) == plain(expected)
    again, seen = compared(name, folder)
    assert set(seen) <= {run for run in all_runs if run[0].startswith("source ")}  # learned again from, not judged
    assert plain(again) == plain(expected)


def test_every_comparison_judges_on_test_rows(whole):
    """Each method against what it is to beat, by the figures of its own runs; a baseline or a bound by nothing."""
    judged = {
        name: {result.method: result.verdict for result in whole(name)[0].results}
        for name in ("adapting", "without_source")
    }
    judged["generalising"] = {r.method: r.verdict for r in whole("generalising")[0].found.results}
    assert {name: [method for method, verdict in found.items() if verdict] for name, found in judged.items()} == {
        "adapting": ["dann", "adamatch:amount=0"],
        "without_source": ["tent", "shot"],
        "generalising": [],  # with two sources both methods are one and the same
    }
    by_seed = {result.method: result.test_by_seed for result in whole("adapting")[0].results}
    verdict = judged["adapting"]["dann"]
    assert verdict.winner_runs == pytest.approx(by_seed["dann"])
    assert verdict.baseline_runs == pytest.approx(by_seed["source_only"])
    assert verdict.difference == pytest.approx(np.mean(by_seed["dann"]) - np.mean(by_seed["source_only"]))
    tasks = {result.method: result for result in whole("multitasking")[0].results}
    assert tasks["single"].verdicts == {}
    for method in ("multitask", "lwf", "replay:rows=6"):
        assert list(tasks[method].verdicts) == ["shape", "height"]
        for name, verdict in tasks[method].verdicts.items():
            assert verdict.winner_runs == pytest.approx(tasks[method].figures[name].by_seed)
            assert verdict.baseline_runs == pytest.approx(tasks["single"].figures[name].by_seed)


@pytest.mark.parametrize("name", COMPARISONS)
def test_what_breaks_is_out_in_every_comparison(name, tmp_path):
    """A rate of 1e30: no number is finite any more, and a sentence says so before anything is chosen."""
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True, max_grad_norm=1e30)
    broken = replace(BUDGET, learning_rate=1e30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "BUDGET", broken)
        if name == "without_source":  # the network as it comes is still there to be kept
            found = COMPARISONS[name](args)
            assert [failed.candidate for failed in found.failed] == ["shot"]  # tent moves scales alone, which can be
            assert found.chosen in ("source_model", "tent")
        else:
            with pytest.raises(NotFiniteError, match="not finite"):
                COMPARISONS[name](args)
