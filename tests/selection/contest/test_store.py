"""Races that were cut short go on with what is missing, and what broke cannot win."""

import json
import math
import shutil
from dataclasses import dataclass, replace

import bright_rows
import numpy as np
import pytest
import torch
from bright_rows import bright_data, race, race_arguments
from transformers import TrainerCallback, TrainingArguments

from hf_transfer_kit.errors import NotFiniteError
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.contest.store import RunStore

STRATEGIES = ["head_only", "full", "wise_ft"]


class Count(TrainerCallback):
    """Notes the runs that train, and stops everything at the end of one."""

    def __init__(self, name, seen, stop=None):
        self.name, self.seen, self.stop = name, seen, stop

    def on_train_begin(self, args, state, control, **kwargs):
        self.seen.append(self.name)

    def on_step_end(self, args, state, control, **kwargs):
        if len(self.seen) == self.stop and state.global_step == 2:
            raise KeyboardInterrupt


def changed(folder, **settings):
    args = race_arguments(folder)
    for name, value in settings.items():
        setattr(args, name, value)
    return args


def raced(
    folder, strategies=STRATEGIES, *, seeds=(0, 1), stop=None, store=True, args=None, data=None, told=None, **options
):
    seen = []
    found = race(
        data or bright_data(),
        args or race_arguments(folder),
        strategies,
        seeds=seeds,
        callbacks=lambda text, seed: [Count((text, seed), seen, stop)],
        store=RunStore(folder / "runs", tell=(told.append if told is not None else None), **options) if store else None,
    )
    return found, seen


def same(one, other):
    for left, right in zip(one.results, other.results, strict=True):
        assert replace(left, seconds=0) == replace(right, seconds=0)
    assert one.winner == other.winner
    assert one.verdict == other.verdict
    assert np.array_equal(one.predicted, other.predicted)
    state = other.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in one.model.state_dict().items())


@pytest.mark.parametrize("stop", [1, 2, 4, 6])
def test_a_race_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(tmp_path, stop):
    whole, all_runs = raced(tmp_path / "whole", store=False)
    assert len(all_runs) == 6
    (tmp_path / "cut").mkdir()
    with pytest.raises(KeyboardInterrupt):
        raced(tmp_path / "cut", stop=stop)
    assert len(RunStore(tmp_path / "cut" / "runs")) == stop - 1
    told = []
    found, seen = raced(tmp_path / "cut", told=told)
    assert seen == all_runs[stop - 1 :]
    assert len(told) == stop - 1
    assert all("was finished before" in sentence for sentence in told)
    same(found, whole)


def test_a_finished_race_trains_what_is_new_alone(tmp_path):
    first, _ = raced(tmp_path)
    again, seen = raced(tmp_path)
    assert seen == []
    same(again, first)
    more, seen = raced(tmp_path, [*STRATEGIES, "from_scratch"], seeds=(0, 1, 2))
    assert set(seen) == {*((text, 2) for text in STRATEGIES), *(("from_scratch", seed) for seed in range(3))} | (
        {(more.winner, seed) for seed in (0, 1)} & set(seen)  # weights of what did not win were let go
    )
    alone, _ = raced(tmp_path / "alone", [*STRATEGIES, "from_scratch"], seeds=(0, 1, 2), store=False)
    same(more, alone)
    weights = list((tmp_path / "runs").glob("*/changed.safetensors"))
    assert len(weights) == 1


@pytest.mark.parametrize("change", ["max_grad_norm", "weight_decay", "rows", "weights", "fact"])
def test_nothing_is_taken_from_another_question(tmp_path, change, monkeypatch):
    raced(tmp_path, ["head_only"], seeds=(0,))
    assert raced(tmp_path, ["head_only"], seeds=(0,))[1] == []
    options = {}
    if change in ("max_grad_norm", "weight_decay"):
        options["args"] = changed(tmp_path, **{change: 0.1})
    if change == "fact":
        options["facts"] = {"stored": "float16"}
    if change == "rows":
        data = bright_data()
        data.train.images[0] += 1
        options["data"] = data
    if change == "weights":
        real = bright_rows.make_model

        def other(seed):
            model = real(seed)
            with torch.no_grad():
                next(model.parameters()).add_(0.1)
            return model

        monkeypatch.setattr(bright_rows, "make_model", other)
    assert raced(tmp_path, ["head_only"], seeds=(0,), **options)[1] == [("head_only", 0)]


def test_where_files_go_and_what_is_logged_changes_nothing(tmp_path):
    raced(tmp_path, ["head_only"], seeds=(0,))
    args = changed(tmp_path / "elsewhere", logging_steps=3, save_steps=7)
    assert raced(tmp_path, ["head_only"], seeds=(0,), args=args)[1] == []


def test_what_was_written_by_half_is_no_run(tmp_path):
    raced(tmp_path, ["head_only"], seeds=(0,))
    (run,) = (tmp_path / "runs").iterdir()
    run.rename(tmp_path / "runs" / ".unfinished-1")
    assert raced(tmp_path, ["head_only"], seeds=(0,))[1] == [("head_only", 0)]
    assert [path.name[0] for path in (tmp_path / "runs").iterdir()].count(".") == 0


class Break(TrainerCallback):
    """Makes a weight infinite."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        with torch.no_grad():
            list(model.parameters())[-1].fill_(math.inf)


def test_what_is_not_finite_stops_at_once_and_cannot_win(tmp_path):
    found = race(
        bright_data(),
        race_arguments(tmp_path),
        ["head_only", "full"],
        seeds=(0, 1),
        callbacks=lambda text, seed: [Break()] if (text, seed) == ("full", 1) else [],
    )
    assert [result.strategy for result in found.results] == ["head_only"]
    assert found.winner == "head_only"
    (failed,) = found.failed
    assert (failed.candidate, failed.seed) == ("full", 1)
    assert failed.step <= Budget(4, 4, evaluations=2).eval_steps
    assert "full, seed 1, failed: not finite: " in str(failed)
    assert "Lower the learning rate" in failed.reason
    with pytest.raises(NotFiniteError, match=r"Every candidate broke\. head_only, seed 0: not finite"):
        race(bright_data(), race_arguments(tmp_path), ["head_only", "full"], callbacks=lambda text, seed: [Break()])


def test_what_broke_is_kept_and_not_trained_again(tmp_path):
    seen, told = [], []

    def raced_once():
        return race(
            bright_data(),
            race_arguments(tmp_path),
            ["head_only", "full"],
            seeds=(0, 1),
            callbacks=lambda text, seed: [
                Count((text, seed), seen),
                *([Break()] if (text, seed) == ("full", 1) else []),
            ],
            store=RunStore(tmp_path / "runs", tell=told.append),
        )

    first = raced_once()
    assert seen == [("head_only", 0), ("head_only", 1), ("full", 0), ("full", 1)]
    assert len(RunStore(tmp_path / "runs")) == 4
    again = raced_once()
    assert len(seen) == 4
    same(again, first)
    assert again.failed == first.failed
    assert [(failed.candidate, failed.seed) for failed in again.failed] == [("full", 1)]
    (sentence,) = [line for line in told if "broke before" in line]
    (broken,) = [path for path in (tmp_path / "runs").iterdir() if path.name in sentence]
    record = json.loads((broken / "record.json").read_text())
    assert record["failed"].startswith("not finite: ")
    assert (record["candidate"], record["seed"], record["step"]) == ("full", 1, first.failed[0].step)
    shutil.rmtree(broken)
    raced_once()
    assert seen[4:] == [("full", 1)]


def test_every_figure_of_every_run_is_a_row(tmp_path):
    found, _ = raced(tmp_path, ["head_only", "full"])
    table = found.to_pandas()
    assert list(table.columns) == ["candidate", "seed", "split", "metric", "value", "steps", "seconds"]
    for result in found.results:
        own = table[(table.candidate == result.strategy) & (table.metric == "accuracy")]
        assert own[own.split == "test"].value.mean() == pytest.approx(result.test["accuracy"])
        assert own[own.split == "validation"].value.mean() == pytest.approx(result.validation["accuracy"])
        assert sorted(own[own.split == "test"].seed) == [0, 1]
        assert set(own.steps) == {4}
    again, seen = raced(tmp_path, ["head_only", "full"])
    assert seen == []
    assert again.runs == found.runs
    page = found._repr_html_()
    assert "head_only" in page
    assert len(page) < 5000


def test_a_scripts_own_flags_are_no_part_of_the_question(tmp_path):
    """Where runs are kept is one: another name of the same folder must find them."""

    @dataclass
    class Flags(TrainingArguments):
        store: str = "here"

    raced(tmp_path, ["head_only"], seeds=(0,))
    args = Flags(**{**{f: getattr(race_arguments(tmp_path), f) for f in ("output_dir", "use_cpu", "report_to")},
                    "per_device_train_batch_size": 4, "disable_tqdm": True, "remove_unused_columns": False})  # fmt: skip
    assert raced(tmp_path, ["head_only"], seeds=(0,), args=args)[1] == []
