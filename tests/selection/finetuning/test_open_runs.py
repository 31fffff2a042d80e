"""Races whose runs go on until their validation metric has flattened: every strategy, and what is compared before."""

import dataclasses
import math

import pytest
import tiny
from bright_rows import race
from torch.utils.data import default_collate
from transformers import TrainerCallback, TrainerState

from hf_transfer_kit import load_model
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.reports import length_sentence
from hf_transfer_kit.selection import STRATEGIES, Budget, make_strategy, run_strategy
from hf_transfer_kit.selection.finetuning import open_runs

EVERY, LOOKS = 2, 12
STILL = Budget(EVERY * LOOKS, 4, evaluations=LOOKS, patience=2, learning_rate=1e-12)  # whose metric never moves


class Trained(TrainerCallback):
    """What is trained at each step."""

    def __init__(self):
        self.steps: list[set[str]] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.steps.append({name for name, parameter in model.named_parameters() if parameter.requires_grad})

    @property
    def settled(self) -> int:
        """Steps before the last change."""
        return next(step for step in range(len(self.steps)) if all(s == self.steps[-1] for s in self.steps[step:]))


def ends_at(settled: int) -> int:
    """A step after the second look that brought nothing since all learns, and a third of the steps for the rate."""
    first = max(math.ceil(settled / EVERY), 1) * EVERY
    begin = first + STILL.patience * EVERY + 1
    return min(begin + max(1, round(begin / 3)), STILL.max_steps)


@pytest.fixture
def make_model(tmp_path):
    tiny.TRANSFORMERS["vit"]()[0].save_pretrained(tmp_path / "source")  # without statistics that move by themselves
    return lambda seed: load_model(tmp_path / "source", num_labels=2, seed=seed)


STAGED = [
    "gradual:until=0.25",
    "lp_ft:head=random",
    "lp_ft:head_fraction=0.5,head=random",
    "surgical:head_fraction=0.1",
]


@pytest.mark.parametrize("text", [*(name for name in STRATEGIES if name != "text_head"), *STAGED])
def test_every_strategy_ends_when_its_metric_has_flattened_once_all_that_is_to_learn_does(text, data, args, make_model):
    whole, seen, strategy = Trained(), Trained(), make_strategy(text)
    closed = dataclasses.replace(STILL, patience=None)
    full = run_strategy(strategy, make_model, data, args, closed, seed=0, callbacks=(whole,), test=False)
    assert (full.ended, full.steps) == ("steps", STILL.max_steps)
    run = run_strategy(strategy, make_model, data, args, STILL, seed=0, callbacks=(seen,), test=False)
    assert (run.ended, run.steps) == ("flat", ends_at(whole.settled))
    assert seen.steps == whole.steps[: run.steps]
    assert whole.settled > 0 or text not in STAGED


def test_stages_of_a_run_that_becomes_shorter_come_at_their_shares_of_what_it_is(data, args, make_model):
    class Shorter(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            state.max_steps = 12

    seen, closed = Trained(), dataclasses.replace(STILL, patience=None)
    parts = (seen, Shorter())
    run = run_strategy(make_strategy("gradual"), make_model, data, args, closed, seed=0, callbacks=parts, test=False)
    assert (run.steps, seen.settled) == (12, 6)


@pytest.mark.parametrize(("metric", "sign"), [("mse", -1), ("spearman", 1), ("pearson", 1)])
def test_a_metric_that_is_better_when_lower_rises_when_it_falls(data, metric, sign):
    data = dataclasses.replace(data, task_type="regression", label_names=(), metric=metric)
    state = TrainerState(log_history=[{"step": 3, f"eval_{metric}": 0.5}])
    until = open_runs.until_flat(data, STILL)
    assert (until.looks(state), until.least) == ([(3, sign * 0.5)], 0.0)


def test_many_looks_read_some_validation_rows_and_figures_all(data, args, make_model, monkeypatch):
    monkeypatch.setattr(open_runs, "ROWS_OF_LOOKS", 4)
    seen: list[int] = []

    class Size(TrainerCallback):
        def on_evaluate(self, args, state, control, eval_dataloader=None, **kwargs):
            seen.append(len(eval_dataloader.dataset))

    run = run_strategy(make_strategy("full"), make_model, data, args, STILL, seed=0, callbacks=(Size(),), test=False)
    assert seen == [4] * (len(seen) - 1) + [10]
    assert len(run.validation_correct) == 10
    closed = dataclasses.replace(STILL, patience=None)
    seen.clear()
    run_strategy(make_strategy("full"), make_model, data, args, closed, seed=0, callbacks=(Size(),), test=False)
    assert set(seen) == {10}


def test_a_race_tells_each_runs_length_and_compares_at_equal_steps_before(data, args):
    budget = dataclasses.replace(STILL, learning_rate=None)
    found = race(
        data, args, ["head_only", "full", "l2sp", "from_scratch"], budget=budget, reduction_factor=2, seeds=[0, 1]
    )
    assert found.eliminated[0].max_steps == STILL.max_steps  # below the usual 300
    for result in found.results:
        assert len(result.steps) == len(result.ended) == 2
        assert length_sentence(result.strategy, result.steps, result.ended, budget)
    assert {entry.steps for entry in found.runs if entry.candidate == "full"} == set(found.result("full").steps)


def test_an_open_budget_is_that_of_usual_runs_where_steps_must_be_equal():
    assert Budget(9000, 32, evaluations=20, patience=3, max_minutes=2.0).of_known_length() == Budget(
        300, 32, evaluations=20
    )
    assert Budget(9000, 32).of_known_length() == Budget(9000, 32)
    assert Budget(40, 32, max_minutes=1.0).of_known_length() == Budget(40, 32)


def test_patience_that_never_runs_out_is_refused():
    with pytest.raises(SettingsError, match="A patience of 5 looks never ends a run that is looked at 5 times"):
        Budget(10, 4, patience=5)


def test_labels_of_rows_in_memory_are_looked_at_too(data, args, make_model):
    splits = {split: Rows(getattr(data, split).images, getattr(data, split).labels.numpy(), "pixel_values")
              for split in ("train", "validation", "test")}  # fmt: skip
    data = dataclasses.replace(data, **splits, collator=default_collate)
    run = run_strategy(make_strategy("head_only"), make_model, data, args, STILL, seed=0, test=False)
    assert run.ended == "flat"
