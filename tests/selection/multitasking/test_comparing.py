"""Several tasks compared: what is trained, on which rows, for how long, and what is reported."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from selection.adapting.domain_data import NAMES, PLACES, network
from torch.utils.data import default_collate
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.data import ClassBalance
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask import MultiTaskDataset, delta_m
from hf_transfer_kit.reports import length_sentence
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.contest.flattening import UntilFlat
from hf_transfer_kit.selection.multitasking import TaskData, TaskSet, compare_multitask
from hf_transfer_kit.selection.multitasking.comparing import _result
from hf_transfer_kit.selection.multitasking.looks import TaskLooks
from hf_transfer_kit.selection.multitasking.methods import make_method
from hf_transfer_kit.selection.multitasking.trials import Trials
from hf_transfer_kit.values import TaskFigure

SIZES = {"train": 24, "validation": 12, "test": 15}


def _splits(task_type: str, seed: int, channels: int) -> dict[str, Rows]:
    found = {}
    for number, (split, count) in enumerate(SIZES.items()):
        generator = torch.Generator().manual_seed(seed + number)
        images = 0.1 * torch.randn(count, channels, 28, 28, generator=generator) - 0.5
        classes = torch.arange(count) % 3
        for image, label in zip(images, classes.tolist(), strict=True):
            image[(slice(None), *PLACES[label])] += 1.0
        labels = classes.numpy() if task_type == "classification" else classes.numpy() * 100.0 + 5000.0
        found[split] = Rows(images, labels, "pixel_values")
    return found


def task(
    name: str, task_type: str = "classification", *, group=None, seed=0, channels=3, balance=None, **settings
) -> TaskData:
    splits = _splits(task_type, seed, channels)
    names = NAMES if task_type == "classification" else ()
    loaded = SimpleNamespace(
        name=f"data of {name}",
        task_type=task_type,
        label_names=names,
        sizes=lambda: SIZES,
        fingerprints=lambda: dict.fromkeys(SIZES, "f"),
    )
    prepared = SimpleNamespace(
        **splits,
        collator=default_collate,
        modality="image",
        reads="image",
        label_names=names,
        balance=balance or ClassBalance(),
    )
    return TaskData(name, loaded, prepared, group or name, **settings)


def arguments(tmp_path, **changes) -> TrainingArguments:
    return TrainingArguments(
        tmp_path, per_device_train_batch_size=6, report_to="none", use_cpu=True, disable_tqdm=True, **changes
    )


class Steps(TrainerCallback):
    """Which runs took how many steps, with what rates."""

    def __init__(self):
        self.runs = {}
        self.rates = {}

    def of(self, text, seed):
        outer = self

        class One(TrainerCallback):
            def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
                outer.rates[text, seed] = sorted({round(group["lr"], 9) for group in optimizer.param_groups})

            def on_train_end(self, args, state, control, **kwargs):
                outer.runs[text, seed] = state.global_step

        return [One()]


@pytest.fixture
def compared(tmp_path):
    def compare(methods, tasks, *, pretrained=False, inputs=None, seeds=(0,), steps=4, budget=None, **settings):
        seen = Steps()
        found = compare_multitask(
            methods,
            network,
            TaskSet(tasks, inputs, pretrained=pretrained),
            arguments(tmp_path),
            budget or Budget(steps, 6, learning_rate=1e-3),
            seeds=seeds,
            callbacks=seen.of,
            **settings,
        )
        return found, seen

    return compare


STILL = Budget(20, 6, evaluations=10, patience=2, learning_rate=1e-12)  # whose metrics never move


@pytest.mark.parametrize("method", ["multitask", "multitask:balancing=pcgrad", "sequential", "lwf", "replay:rows=6"])
def test_runs_end_when_every_tasks_metric_has_flattened(compared, method):
    source = {} if method.startswith("multitask") else {"source_task": "shape"}
    found, seen = compared(["single", method], [task("shape"), task("other", seed=9)], budget=STILL, **source)
    alone, together = found.results
    # alone looks at 2, 4 and 6 brought nothing, and a third of the 6 steps is for the rate; twice the steps for two
    steps = 16 if method.startswith("multitask") else 8
    assert set(seen.runs.values()) == {8, steps}
    assert (set(alone.run_steps), set(alone.ended)) == ({8}, {"flat"})
    assert (together.run_steps, together.ended) == ((steps,), ("flat",))
    assert length_sentence(together.method, together.run_steps, together.ended, STILL).endswith("had flattened.")


def test_one_task_that_rises_keeps_all_learning(tmp_path):
    model = Trials(
        network, TaskSet([task("shape"), task("other", seed=9)]), arguments(tmp_path), STILL, (0,), 0, None, None
    )
    now = iter(range(100))
    rising = {"shape": lambda: 0.5, "other": lambda: next(now) / 100}
    looks = TaskLooks(lambda: {name: value() for name, value in rising.items()}, every=lambda: 2)
    until = UntilFlat(STILL, lambda _: looks.points, ramp=0.0)
    method = make_method("multitask")
    trained = model.network(method, 0, None)
    sources = model.tasks.sources(model.tasks.names, seed=0)
    rows, collator = MultiTaskDataset(sources, method.mixing, seed=0), model.tasks.collator(trained.config.tasks)
    args = arguments(tmp_path)
    args.max_steps, args.remove_unused_columns = 20, False
    Trainer(trained, args, train_dataset=rows, data_collator=collator, callbacks=[looks, until]).train()
    assert (until.ended, until.steps, len(looks.points)) == ("steps", 20, 10)


def test_each_dataset_is_read_as_often_as_alone(compared):
    tasks = [task("shape"), task("height", "regression", group="shape"), task("other", seed=9)]
    found, seen = compared(["single", "multitask:balancing=uncertainty"], tasks, seeds=(0, 1))
    assert seen.runs == {
        **{(f"single {name}", seed): 4 for name in ("shape", "height", "other") for seed in (0, 1)},
        **{("multitask:balancing=uncertainty", seed): 8 for seed in (0, 1)},
    }
    single, together = found.results
    assert (single.steps, together.steps) == (4, 8)
    assert (single.delta_m, single.affinity, single.log) == (None, None, ())
    assert found.chosen == together.method
    assert set(found.metrics) == {"shape", "height", "other"}
    assert found.metrics["shape"]["accuracy"] == together.figures["shape"].by_seed[0]
    assert {"loss_shape", "loss_height", "loss_other", "weight_shape", "step"} <= set(together.log[-1])
    by_seed = [
        delta_m(
            {name: together.figures[name].by_seed[seed] for name in found.metrics},
            {name: single.figures[name].by_seed[seed] for name in found.metrics},
        )
        if all(single.figures[name].by_seed[seed] for name in found.metrics)
        else None
        for seed in (0, 1)
    ]
    if None not in by_seed:
        assert together.delta_m_by_seed == pytest.approx(by_seed)
        assert together.delta_m == pytest.approx(np.mean(by_seed))
    matrix = np.array(together.affinity, dtype=float)
    assert matrix.shape == (3, 3)
    assert np.allclose(np.diag(matrix), 1)
    assert np.allclose(matrix, matrix.T)


def test_two_comparisons_give_the_same_figures(compared):
    tasks = [task("shape"), task("other", seed=9)]
    first, second = (compared(["single", "multitask"], tasks)[0] for _ in range(2))
    for one, two in zip(first.results, second.results, strict=True):
        assert one.figures == two.figures


def test_labels_far_from_zero_begin_with_a_loss_near_one(compared):
    found, _ = compared(["multitask"], [task("height", "regression"), task("shape", seed=3)], steps=1)
    assert found.model.heads["height"].mean == pytest.approx(5100.0)
    assert found.model.heads["height"].scale == pytest.approx(np.std([0.0, 100.0, 200.0]))
    assert 0.2 < found.results[0].log[0]["loss_height"] < 5


def test_the_source_task_is_learned_once_and_goes_on_in_every_way(compared):
    tasks = [task("old"), task("new", seed=9)]
    methods = ["single", "multitask", "sequential", "lwf:weight=2", "replay:rows=6"]
    found, seen = compared(methods, tasks, source_task="old", pretrained=True)
    assert seen.runs == {
        ("source old", 0): 4,
        ("single new", 0): 4,
        ("multitask", 0): 8,
        **{(method, 0): 4 for method in methods[2:]},
    }
    before = found.before.test
    for result in found.results:
        if result.method == "single":
            assert result.figures["old"].test == before
            assert result.forgetting is None
        else:
            assert result.forgetting == pytest.approx(before - result.figures["old"].test)
    logged = {result.method: set(result.log[-1]) for result in found.results if result.log}
    assert "loss_old" not in logged["sequential"]
    assert "loss_old" in logged["lwf:weight=2"]
    assert "loss_old" in logged["replay:rows=6"]
    # A fresh head learns ten times as fast as what has been learned before.
    assert len(seen.rates["sequential", 0]) == 2
    slow, fast = seen.rates["sequential", 0]
    assert fast == pytest.approx(10 * slow)


def test_forgetting_is_how_much_worse_even_where_less_is_better(compared):
    """An error that grows by 5 was forgotten by 5; one that falls by 3 was learned."""
    tasks = [task("height", "regression", metric="mse"), task("new", seed=9)]
    found, _ = compared(["multitask", "sequential"], tasks, source_task="height", pretrained=True)
    assert not TaskSet(tasks, pretrained=False)["height"].larger_is_better
    for result in found.results:
        change = result.figures["height"].test - found.before.test
        assert change != 0
        assert result.forgetting == pytest.approx(change)
        assert result.forgetting_by_seed == (pytest.approx(change),)
    before = TaskFigure(10.0, 10.0, 0.0, (10.0, 10.0))
    runs = [{name: _scripted(tasks, error) for name in ("height", "new")} for error in (15.0, 7.0)]
    method = make_method("sequential")
    lost = _result(method, runs, (), TaskSet(tasks, pretrained=False), (0, 1), before, "height")
    assert lost.forgetting_by_seed == (5.0, -3.0)
    assert lost.forgetting == 1.0


def _scripted(tasks, error):
    metrics = {"height": {tasks[0].main_metric: error}, "new": {tasks[1].main_metric: 0.5}}
    return SimpleNamespace(validation=metrics, test=metrics, affinity=None, log=(), steps=1, ended="steps", seconds=0.0)


def test_a_source_head_does_not_move_while_others_learn(tmp_path):
    heads = {}

    class Keep(TrainerCallback):
        def __init__(self, text):
            self.text = text

        def on_train_end(self, args, state, control, model=None, **kwargs):
            heads[self.text] = {name: w.clone() for name, w in model.heads["old"].state_dict().items()}

    compare_multitask(
        ["sequential"],
        network,
        TaskSet([task("old"), task("new", seed=9)], pretrained=False),
        arguments(tmp_path, weight_decay=0.5),
        Budget(3, 6),
        source_task="old",
        callbacks=lambda text, seed: [Keep(text)],
    )
    for name, weight in heads["source old"].items():
        assert torch.equal(weight, heads["sequential"][name])


def test_separate_inputs_and_how_many_layers_they_own(compared):
    inputs = {"grey": {"channels": 1}, "rgb": {}}
    tasks = [task("drawn", channels=1, input="grey"), task("real", seed=9, input="rgb")]
    methods = ["single", "multitask", "multitask:shared_from=2", "replay"]
    found, seen = compared(methods, tasks, inputs=inputs, shared_from=1, source_task="drawn")
    assert [result.shared_from for result in found.results] == [1, 1, 2, 1]
    assert set(found.model.config.inputs) == {"grey", "rgb"}
    before = dict(seen.runs)
    with pytest.raises(SettingsError, match="no other task reads drawn's input 'grey'"):
        compared(["lwf"], tasks, inputs=inputs, shared_from=1, source_task="drawn")
    assert seen.runs == before


def test_what_does_not_fit_is_refused_before_training(compared):
    two = [task("a"), task("b", seed=3)]
    cases = [
        ((["single"], two), {}, "does not do all tasks in one network"),
        ((["multitask", "multitask"], two), {}, "none twice"),
        ((["multitask"], two), {"seeds": ()}, "is no list"),
        ((["replay"], two), {}, "replay keeps a source task, but none is named"),
        ((["replay"], two), {"source_task": "c"}, "source_task='c' is no task; the tasks are a, b"),
        ((["replay"], two[:1]), {"source_task": "a"}, "'a' is the only task"),
        ((["multitask"], []), {}, "The tasks are none"),
        ((["multitask"], [task("a"), task("a")]), {}, "none twice"),
        (
            (["lwf"], [task("a", "regression"), task("b")]),
            {"source_task": "a"},
            "lwf holds the classes that a network says, but 'a' is regression",
        ),
        (
            (["lwf"], [task("a"), task("b", group="a"), task("c")]),
            {"source_task": "a"},
            "'a' labels the same rows as other tasks",
        ),
    ]
    for positional, named, message in cases:
        with pytest.raises(SettingsError, match=message):
            compared(*positional, **named)
    short = task("b", group="a")
    short.prepared.train = Rows(torch.zeros(5, 3, 28, 28), np.zeros(5, dtype=int), "pixel_values")
    with pytest.raises(DataError, match="Tasks on the same rows have different numbers of them"):
        compared(["multitask"], [task("a"), short])


def test_a_metric_that_is_zero_alone_gives_no_gain_and_no_crash(compared, monkeypatch):
    from hf_transfer_kit.selection.multitasking import running

    values = iter([0.0] * 4 + [0.5] * 100)
    monkeypatch.setattr(running, "metrics_of", lambda *args: {"accuracy": next(values)})
    found, _ = compared(["single", "multitask"], [task("a"), task("b", seed=3)], steps=1)
    assert found.results[1].delta_m is None
    assert not math.isnan(found.results[1].figures["a"].test)


class TestClassesOfVeryDifferentSizes:
    @staticmethod
    def lopsided(**balance) -> TaskData:
        found = task("shape", balance=ClassBalance(**balance))
        found.prepared.train.classes = np.array([0] * 18 + [1] * 4 + [2] * 2)
        return found

    def test_a_balanced_sampler_gives_each_class_as_many_rows(self):
        tasks = TaskSet([self.lopsided(sampler="balanced"), task("other")])
        (source,) = tasks.sources(["shape"]).values()
        labels = [source.dataset[row]["shape"] for row in range(len(source.dataset))]
        assert np.bincount(labels).tolist() == [18, 18, 18]
        assert len(tasks.sources(["other"])["other"].dataset) == 24

    def test_balanced_weights_reach_the_head_of_their_task_alone(self, tmp_path):
        tasks = TaskSet([self.lopsided(weights="balanced"), task("other")], pretrained=False)
        found = compare_multitask(["multitask"], network, tasks, arguments(tmp_path), Budget(2, 6))
        weights = found.model.heads["shape"].class_weights
        assert torch.allclose(weights, torch.tensor([24 / 54, 24 / 12, 24 / 6]))
        assert found.model.heads["other"].class_weights is None
        assert not [name for name in found.model.state_dict() if "class_weights" in name]

    def test_the_metric_of_all_classes_chooses(self):
        assert self.lopsided(metric="macro_f1").main_metric == "macro_f1"
        assert task("other", metric="accuracy", balance=ClassBalance(metric="macro_f1")).main_metric == "accuracy"

    def test_what_cannot_be_balanced_is_refused(self):
        with pytest.raises(SettingsError, match="is a task of regression"):
            task("size", "regression", balance=ClassBalance(weights="balanced"))
        shared = [task("shape", group="rows", balance=ClassBalance(sampler="balanced")), task("b", group="rows")]
        with pytest.raises(SettingsError, match="shape has a balanced sampler, but its rows are those of other tasks"):
            TaskSet(shared)
