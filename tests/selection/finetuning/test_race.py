"""The race: one budget, the same data order, selection on validation, judgement on test."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from bright_rows import race
from transformers import TrainerCallback

from hf_transfer_kit import layer_groups, load_model
from hf_transfer_kit.backbones import is_adapted, merged
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.reports.layer_rows import layer_rows
from hf_transfer_kit.selection import STRATEGIES, Budget, make_strategy, run_strategy
from hf_transfer_kit.selection.contest.bootstrap import accuracy_interval
from hf_transfer_kit.selection.finetuning.summaries import summarize
from hf_transfer_kit.selection.finetuning.task_judging import judging_of


class Watch(TrainerCallback):
    """Notes what each run was given."""

    def __init__(self, seen: list) -> None:
        self.seen = seen

    def on_train_begin(self, args, state, control, **kwargs):
        self.seen.append((state.max_steps, args.learning_rate, args.seed, args.eval_steps))


def test_every_run_has_the_same_budget_and_the_same_data_order(data, args):
    seen: list = []
    comparison = race(
        data, args, ["head_only", "from_scratch"], seeds=[0, 1], callbacks=lambda text, seed: [Watch(seen)]
    )
    assert seen == [(4, 5e-3, 0, 2), (4, 5e-3, 1, 2), (4, 1e-3, 0, 2), (4, 1e-3, 1, 2)]
    steps = np.array([order for order in data.orders if len(order) == 4][:16])
    assert steps.shape == (16, 4)
    assert np.array_equal(steps[:4], steps[8:12])
    assert np.array_equal(steps[4:8], steps[12:])
    assert not np.array_equal(steps[:4], steps[4:8])
    for result in comparison.results:
        assert [point.step for point in result.curve if point.accuracy is not None] == [2, 4]


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "text_head"])  # it wants a text tower
def test_every_strategy_runs_in_the_stock_trainer(name, data, args, tmp_path):
    tiny.TRANSFORMERS["resnet"]()[0].save_pretrained(tmp_path / "source")
    budget = Budget(4, 4, evaluations=2)
    run = run_strategy(
        make_strategy(name), lambda seed: load_model(tmp_path / "source", num_labels=2, seed=seed), data, args, budget, seed=0
    )  # fmt: skip
    with torch.no_grad():
        logits = run.model.eval()(pixel_values=data.test.images).logits
    assert np.array_equal(logits.argmax(-1).numpy(), run.predicted)
    pretrained = load_model(tmp_path / "source", num_labels=2, seed=0)
    head = next(iter(layer_groups(pretrained).head.parameters))
    plain = merged(run.model) if is_adapted(run.model) else run.model
    assert plain.state_dict().keys() == pretrained.state_dict().keys()
    assert not torch.equal(plain.state_dict()[head], pretrained.state_dict()[head])


def test_the_winner_is_the_best_on_validation_and_its_model_gives_its_predictions(data, args):
    comparison = race(data, args, ["full", "from_scratch"], seeds=[0, 1])
    scores = {r.strategy: (r.validation["accuracy"], -r.validation["loss"]) for r in comparison.results}
    assert comparison.winner == max(scores, key=scores.get)
    with torch.no_grad():
        logits = comparison.model.eval()(pixel_values=data.test.images).logits
    assert np.array_equal(logits.argmax(-1).numpy(), comparison.predicted)
    assert comparison.probabilities == pytest.approx(logits.softmax(-1).amax(-1).numpy(), abs=1e-4)
    assert comparison.model_metrics["accuracy"] == pytest.approx(np.mean(comparison.predicted == comparison.true))
    assert comparison.verdict.baseline == "from_scratch"


def test_without_a_baseline_there_is_no_verdict(data, args):
    assert race(data, args, ["head_only"]).verdict is None


@pytest.mark.parametrize(
    ("strategies", "seeds"), [([], [0]), (["full", "full"], [0]), (["full"], []), (["full"], [1, 1])]
)
def test_missing_or_repeated_entries_are_refused(data, args, strategies, seeds):
    with pytest.raises(SettingsError, match=r"give at least one, and none twice|seeds=.* (is no list|names one twice)"):
        race(data, args, strategies, seeds=seeds)


def test_an_option_that_does_not_fit_is_refused_before_the_first_run(data, args):
    seen: list = []
    with pytest.raises(SettingsError, match="k=99 is out of range"):
        race(data, args, ["full", "freeze_first:k=99"], callbacks=lambda text, seed: [Watch(seen)])
    assert seen == []


def test_summary_is_mean_and_sample_deviation(data):
    model = torch.nn.Linear(2, 2)
    runs = [
        SimpleNamespace(
            seed=seed, model=model, validation={"accuracy": a}, test={"accuracy": a}, curve=(), seconds=1.0,
            trainable_parameters=6, total_parameters=6, true=np.arange(10) % 2, predicted=np.r_[np.arange(9) % 2, 0],
            steps=4, ended="steps",
        )
        for seed, a in ((0, 0.5), (1, 0.7))
    ]  # fmt: skip
    result = summarize("full", "All.", runs, judging_of(data))
    assert result.test["accuracy"] == pytest.approx(0.6)
    assert result.test_spread["accuracy"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert result.total_parameters == 6
    assert (result.metric, result.test_by_seed) == ("accuracy", (0.5, 0.7))
    assert result.test_interval == pytest.approx(accuracy_interval(np.r_[np.ones(9), 0]))
    unlabelled = [SimpleNamespace(**{**vars(run), "true": np.empty(0), "predicted": np.empty(0)}) for run in runs]
    assert summarize("full", "All.", unlabelled, judging_of(data)).test_interval is None


def test_the_winners_rates_are_those_of_its_groups(data, args):
    comparison = race(data, args, ["small_lr:factor=0.01"])
    rows = layer_rows(comparison.model, comparison.rates)
    assert [row["learning_rate"] for row in rows] == pytest.approx([5e-5] * (len(rows) - 1) + [5e-3])
    frozen = race(data, args, ["freeze_first:k=2"])
    rates = [row["learning_rate"] for row in layer_rows(frozen.model, frozen.rates)]
    assert rates == pytest.approx([0.0, 0.0] + [5e-4] * (len(rates) - 2))
