"""Test rows choose nothing: labels of the test split that speak against the choice change no choice of any comparison."""

import numpy as np
import pytest
import torch
from bright_rows import bright_data, race, race_arguments
from selection.adapting.domain_data import domains
from selection.generalising.source_data import NAMES, network, sources
from selection.multitasking.test_comparing import task
from transformers import TrainingArguments

from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.adapting import TargetAlone, compare_adaptations, compare_source_free
from hf_transfer_kit.selection.generalising import compare_generalisation
from hf_transfer_kit.selection.multitasking import TaskSet, compare_multitask

BUDGET = Budget(12, 6, evaluations=2, learning_rate=3e-3)


def against(rows, predicted=None):
    """Test rows whose labels say that the chosen network is wrong everywhere: its predictions and one."""
    classes = np.asarray(rows.classes if predicted is None else predicted)
    rows.classes = (classes + 1) % len(NAMES)


def raced(args, spoil, **options):
    data = bright_data()
    if spoil is not None:
        data.test.labels = torch.as_tensor(1 - spoil)
    return race(data, args, ["head_only", "full", "small_lr", "from_scratch"], **options)


def of_race(args, spoil=None):
    found = raced(args, spoil)
    tests = {result.strategy: result.test["accuracy"] for result in found.results}
    return (found.winner, tuple(result.validation["accuracy"] for result in found.results)), tests, found.predicted


def of_halving(args, spoil=None):
    found = raced(args, spoil, reduction_factor=2)
    tests = {result.strategy: result.test["accuracy"] for result in found.results}
    gone = tuple((entry.strategy, entry.steps) for entry in found.eliminated)
    return (found.winner, gone, tuple(tests)), tests, found.predicted


def of_adapting(args, spoil=None):
    pair = domains()
    if spoil is not None:
        against(pair.target.test, spoil)
    found = compare_adaptations(["source_only", "dann", "mcc", "adamatch:amount=0"], network, pair, args, BUDGET)
    tests = {result.method: result.test["accuracy"] for result in found.results}
    kept = tuple(result.kept_steps for result in found.results)
    scores = tuple(tuple(result.scores.values()) for result in found.results)
    return (found.chosen, kept, scores), tests, found.run.predicted


def of_source_free(args, spoil=None):
    target = domains().target
    if spoil is not None:
        against(target.test, spoil)
    alone = TargetAlone(target, ("train", "validation", "test"), NAMES)
    found = compare_source_free(["source_model", "tent", "shot"], lambda: network(0), alone, args, BUDGET)
    tests = {result.method: result.test["accuracy"] for result in found.results}
    return (found.chosen, tuple(result.kept_steps for result in found.results)), tests, found.run.predicted


def of_generalising(args, spoil=None):
    used = sources("red", "green")
    if spoil is not None:
        for rows in used.rows.values():
            against(rows.test)
    found = compare_generalisation(["joint", "joint:average=swad", "group_dro"], network, used, args, BUDGET)
    return (found.found.chosen, tuple(result.mean for result in found.found.results)), found.found.known, np.zeros(0)


def of_multitasking(args, spoil=None):
    tasks = TaskSet([task("shape"), task("other", seed=9)], pretrained=False)
    if spoil is not None:
        for each in tasks.tasks:
            against(each.prepared.test)
    methods = ["single", "multitask", "multitask:balancing=uncertainty"]
    found = compare_multitask(methods, network, tasks, args, BUDGET)
    figures = {result.method: {name: f.test for name, f in result.figures.items()} for result in found.results}
    validation = tuple(tuple(f.validation for f in result.figures.values()) for result in found.results)
    return (found.chosen, validation), figures, np.zeros(0)


COMPARISONS = [of_race, of_halving, of_adapting, of_source_free, of_generalising, of_multitasking]


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda comparison: comparison.__name__)
def test_test_labels_that_speak_against_the_choice_change_no_choice(comparison, tmp_path):
    args = race_arguments(tmp_path)
    if comparison not in (of_race, of_halving):
        args = TrainingArguments(
            str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True, per_device_train_batch_size=6
        )
    chosen, tests, predicted = comparison(args)
    again, spoiled, _ = comparison(args, predicted)
    assert again == chosen
    assert spoiled != tests
    if len(predicted):  # now the network that was chosen is the worst there is
        assert spoiled[again[0]] == 0
    if comparison in (of_race, of_halving):
        assert max(spoiled.values()) > 0
