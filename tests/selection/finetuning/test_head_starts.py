"""Where a fresh head begins: for every strategy and kind of task at the regression, or at random as it is written."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
import window_networks
from bright_rows import BUDGET, bright_data, race_arguments
from selection.finetuning import test_task_types as tasks
from spoken_rows import speller, spoken_data
from transformers import TrainerCallback, TrainerControl, TrainerState

from hf_transfer_kit import load_data, load_model, load_processor, prepare_data, replace_head, solve_head
from hf_transfer_kit.data import ClassBalance
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import STRATEGIES, compare_strategies, make_strategy, run_strategy, strategy_text
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.finetuning import head_starts
from hf_transfer_kit.selection.finetuning.depth_search import search_freeze_depth
from hf_transfer_kit.selection.finetuning.growing import check_keeps
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts
from hf_transfer_kit.selection.finetuning.race import validate_strategies

KEEP = {"from_scratch": "draws all weights anew", "text_head": "begins with the embeddings"}
"""Strategy -> why its head is not solved."""


class AtStart(TrainerCallback):
    """Logits of the training rows when training begins."""

    def __init__(self, batch):
        self.batch = {name: value for name, value in batch.items() if name != "labels"}

    def on_train_begin(self, args, state, control, model, **kwargs):
        modes = {module: module.training for module in model.modules()}
        with torch.no_grad():
            self.logits = model.eval()(**self.batch).logits
        for module, mode in modes.items():
            module.training = mode


def pictures(tmp_path):
    """A saved network, so that strategies that ask for their source find it, and rows of two classes."""
    tiny.TRANSFORMERS["resnet"]()[0].save_pretrained(tmp_path / "source")
    return lambda seed: load_model(tmp_path / "source", num_labels=2, seed=seed), bright_data()


def kinds(tmp_path):
    return {
        "classification": pictures(tmp_path),
        "regression": (tasks.network("regression"), tasks.data("regression")),
        "multi_label": (tasks.network("multi_label"), tasks.data("multi_label")),
    }


def batch_of(data):
    return data.collator([data.train[row] for row in range(len(data.train))])


@pytest.mark.parametrize("task_type", ["classification", "regression", "multi_label"])
@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in KEEP])
def test_training_begins_at_the_regression(name, task_type, tmp_path):
    make_model, data = kinds(tmp_path)[task_type]
    if task_type != "classification" and STRATEGIES[name].needs_classes:
        pytest.skip(f"{name} is for classes")
    model = make_model(1)
    solved = solve_head(model, data.train, collator=data.collator, validation=data.validation, task_type=task_type)
    batch = batch_of(data)
    with torch.no_grad():
        wanted = model.eval()(**{key: value for key, value in batch.items() if key != "labels"}).logits
    watch, strategy = AtStart(batch), make_strategy(f"{name}:head=probe")
    run = run_strategy(strategy, make_model, data, race_arguments(tmp_path / "run"), BUDGET, seed=1, callbacks=(watch,))
    assert torch.allclose(watch.logits, wanted, atol=1e-4)
    assert np.isfinite(run.validation["loss"])
    assert solved.rows == len(data.train)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_option_is_in_the_text_and_random_is_what_it_was(name):
    kind = STRATEGIES[name]
    assert "head" in {field.name for field in dataclasses.fields(kind)}
    other = "random" if kind.begins_with == "probe" else "probe"
    assert strategy_text(make_strategy(f"{name}:head={other}")).endswith(f"head={other}")
    assert strategy_text(make_strategy(f"{name}:head={kind.begins_with}")) == name


@pytest.mark.parametrize("name", KEEP)
def test_strategies_with_a_head_of_their_own_refuse(name, tmp_path):
    make_model, data = pictures(tmp_path)
    with pytest.raises(SettingsError, match=f"{name}:head=probe cannot be, because it {KEEP[name]}"):
        validate_strategies([make_strategy(f"{name}:head=probe")], make_model(0), data)
    assert STRATEGIES[name].begins_with == "random"


@pytest.mark.parametrize("task_type", ["token_classification", "ctc"])
def test_tasks_without_such_a_head_refuse_by_name_and_begin_at_random(task_type):
    make_model, data = (
        (speller, spoken_data()) if task_type == "ctc" else (tasks.network(task_type), tasks.data(task_type))
    )
    model, heads = make_model(0), HeadStarts(data)
    with pytest.raises(SettingsError, match=f"full:head=probe: A task of {task_type} has no head"):
        heads.settled([replace(make_strategy("full"), head="probe")], model)
    (settled,) = heads.settled([make_strategy("full")], model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    heads.begin(settled, model, torch.device("cpu"))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_unknown_words_and_kept_classes_are_sentences(tmp_path):
    make_model, data = pictures(tmp_path)
    with pytest.raises(SettingsError, match="full: head='prob' is unknown; choose 'probe' or 'random'"):
        validate_strategies([make_strategy("full:head=prob")], make_model(0), data)
    with pytest.raises(SettingsError, match="begins with a new head"):
        check_keeps(make_strategy("full:head=probe"))


def counted(monkeypatch):
    """Calls of the solver that the comparisons use."""
    calls = []

    def solve(*given, **options):
        calls.append(options)
        return solve_head(*given, **options)

    monkeypatch.setattr(head_starts, "solve_head", solve)
    return calls


def test_a_race_solves_once_for_all_strategies_and_seeds(tmp_path, monkeypatch):
    make_model, data = pictures(tmp_path)
    calls = counted(monkeypatch)
    texts = ["full:head=probe", "head_only:head=probe", "lora:head=probe", "full:head=random"]
    store = RunStore(tmp_path / "runs")
    options = {"seeds": (0, 1), "reduction_factor": 2, "store": store}
    args = race_arguments(tmp_path / "run")
    found = compare_strategies(make_model, data, texts, args, replace(BUDGET, max_steps=8), **options)
    assert len(calls) == 1
    assert {text.replace(":head=probe", "") for text in texts} >= {r.strategy.split(":")[0] for r in found.results}
    again = compare_strategies(make_model, data, texts, args, replace(BUDGET, max_steps=8), **options)
    assert [run.figures for run in again.runs] == [run.figures for run in found.runs]


def test_a_depth_search_solves_once(tmp_path, monkeypatch):
    make_model, data = pictures(tmp_path)
    calls = counted(monkeypatch)
    found = search_freeze_depth(
        make_model, data, race_arguments(tmp_path / "run"), BUDGET, depths=[0, 3], head="probe", seeds=(0,),
        cache_dir=tmp_path / "cache",
    )  # fmt: skip
    assert len(calls) == 1
    assert make_strategy(found.strategy).head in ("probe", None)


def test_a_store_tells_heads_apart(tmp_path):
    make_model, data = pictures(tmp_path)
    store, args = RunStore(tmp_path / "runs"), race_arguments(tmp_path / "run")
    for text in ("full:head=probe", "full:head=random"):
        compare_strategies(make_model, data, [text], args, BUDGET, store=store)
    assert len(store) == 2


@pytest.mark.parametrize("balance", [ClassBalance(weights="balanced"), ClassBalance(sampler="balanced"), ClassBalance(weights={"dark": 3.0})])  # fmt: skip
def test_classes_weigh_in_the_regression_as_in_training(balance, tmp_path, monkeypatch):
    make_model, data = pictures(tmp_path)
    data.train.labels[:6] = 0
    data = replace(data, balance=balance)
    calls = counted(monkeypatch)
    heads, model = HeadStarts(data), make_model(0)
    heads.begin(make_strategy("full:head=probe"), model, torch.device("cpu"))
    weights = np.asarray(calls[0]["class_weights"])
    counts = np.bincount(data.train.labels.numpy())
    if balance.weights == {"dark": 3.0}:
        assert weights == pytest.approx([3.0, 1.0])
    else:
        assert weights * counts == pytest.approx([8.0, 8.0])


def test_wise_ft_goes_back_to_the_solved_head(tmp_path):
    """Validation rows have the other labels than training rows: the best point is the beginning, head and all."""
    make_model, data = pictures(tmp_path)
    watch = AtStart(batch_of(data))
    budget = replace(BUDGET, max_steps=12, learning_rate=0.05)
    strategy = make_strategy("wise_ft:head=probe,points=2")
    heads, model = HeadStarts(data), make_model(0)
    heads.begin(strategy, model, torch.device("cpu"))
    with torch.no_grad():
        data.validation.labels = model.eval()(pixel_values=data.validation.images).logits.argmax(-1)
        data.train.labels = 1 - data.train.labels
    run = run_strategy(
        strategy, make_model, data, race_arguments(tmp_path / "run"), budget, seed=0, callbacks=(watch,), heads=heads
    )
    assert run.validation["accuracy"] == 1.0
    with torch.no_grad():
        assert torch.allclose(run.model.eval()(**watch.batch).logits, watch.logits, atol=1e-4)


def test_a_solved_head_goes_on_slowly_where_a_fresh_one_would_be_fast(tmp_path):
    make_model, data = pictures(tmp_path)
    for name in ("head_only", "small_lr"):
        run = run_strategy(
            make_strategy(f"{name}:head=probe"), make_model, data, race_arguments(tmp_path / "run"), BUDGET, seed=0
        )
        head = [name for name in run.rates if "classifier" in name]
        assert head
        assert all(run.rates[name] <= 5e-5 * (1 + 1e-6) for name in head)


TWO_RANKS = """
import sys
from pathlib import Path
import torch, torch.distributed as dist
from transformers import TrainingArguments
from selection.finetuning.test_head_starts import begun
args = TrainingArguments(sys.argv[1], use_cpu=True, report_to=[])
torch.save(begun(args), Path(sys.argv[1], f"rank{dist.get_rank()}.pt"))
"""


def begun(args):
    """The head of a network of which each rank reads other random numbers."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, data = replace_head(tiny.TRANSFORMERS["resnet"]()[0], 2, seed=1), bright_data()
    torch.manual_seed(args.process_index)
    HeadStarts(data).begin(make_strategy("full:head=probe"), model, args.device)
    return {name: value for name, value in model.state_dict().items() if name.startswith("classifier")}


def test_two_ranks_have_one_head_and_it_is_that_of_one(two_processes, tmp_path):
    from transformers import TrainingArguments

    two_processes(TWO_RANKS, tmp_path)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    threads = torch.get_num_threads()
    one = begun(TrainingArguments(str(tmp_path), use_cpu=True, report_to=[]))
    torch.set_num_threads(threads)
    for name, value in first.items():
        assert torch.equal(value, second[name])
        assert torch.allclose(value, one[name], atol=1e-6)


def test_a_head_of_two_layers_is_shared_by_seeds_and_comes_back_from_a_checkpoint(tmp_path, monkeypatch):
    """Of a network of speech, whose projector is written too: a run that goes on begins with the same."""
    calls = counted(monkeypatch)
    place = window_networks.saved("whisper", tmp_path / "network")
    data = prepare_data(load_data(window_networks.sounds(tmp_path / "sounds")), load_processor(place, "audio"))

    def make(seed):
        return load_model(place, num_labels=3, seed=seed, max_seconds=1.0)

    heads, device = HeadStarts(data), torch.device("cpu")
    (strategy,) = heads.settled([make_strategy("full:head=probe")], make(0))
    begun = [heads.begin(strategy, make(seed), device) for seed in (0, 1)]
    assert len(calls) == 1  # projectors of other seeds are no other features
    assert torch.equal(begun[0].projector.weight, begun[1].projector.weight)
    (keep,) = heads.callbacks()
    keep.on_save(race_arguments(tmp_path / "run"), TrainerState(global_step=3), TrainerControl())
    again = HeadStarts(data)
    resumed = again.begin_again(strategy, make(2), str(tmp_path / "run" / "checkpoint-3"))
    for name in ("projector.weight", "projector.bias", "classifier.weight", "classifier.bias"):
        assert torch.equal(resumed.get_parameter(name), begun[0].get_parameter(name)), name
