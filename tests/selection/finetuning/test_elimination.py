"""Strategies given up early: who goes on, what is spent, and that the test split is left alone."""

import pytest
import torch
from torch.utils.data import Dataset
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    TrainerCallback,
    TrainingArguments,
    ViTImageProcessor,
)

from hf_transfer_kit import compare_strategies, load_data, make_strategy, prepare_data
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.finetuning.elimination import eliminate, shortened
from hf_transfer_kit.selection.finetuning.running import Run

STRATEGIES = ["head_only", "freeze_first:k=1", "small_lr:factor=0.000001", "full", "from_scratch"]


def make_model(seed):
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=10)
    return ResNetForImageClassification(config)


@pytest.fixture(scope="module")
def data():
    processor = ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return prepare_data(load_data("digits", train_size=200), processor)


@pytest.fixture
def args(tmp_path):
    return TrainingArguments(
        output_dir=str(tmp_path), report_to=[], disable_tqdm=True, remove_unused_columns=False, use_cpu=True,
        per_device_train_batch_size=16, warmup_steps=6, dataloader_pin_memory=False,
    )  # fmt: skip


class Steps(TrainerCallback):
    def __init__(self, spent):
        self.spent = spent

    def on_step_end(self, args, state, control, **kwargs):
        self.spent.append(1)


class Forbidden(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, row):
        raise AssertionError("the test split was read")


def test_short_runs_warm_up_in_proportion(args):
    short_args, short = shortened(args, Budget(60, 16, evaluations=5), 20)
    assert (short_args.warmup_steps, args.warmup_steps) == (2, 6)
    assert (short.max_steps, short.evaluations) == (20, 1)


def test_who_learns_nothing_is_given_up_and_test_rows_are_not_read(data, args):
    from dataclasses import replace

    spent = []
    survivors, given_up = eliminate(
        [make_strategy(text) for text in STRATEGIES], make_model, replace(data, test=Forbidden()),
        Contest(Run, args, Budget(60, 16)), reduction_factor=2, seed=0, callbacks=lambda text, seed: [Steps(spent)],
    )  # fmt: skip
    assert [entry.strategy for entry in given_up].count("small_lr:factor=1e-06") == 1
    assert len(given_up) == 2
    assert [type(strategy).name for strategy in survivors][-1] == "from_scratch"
    assert len(survivors) == 3
    assert len(spent) == 4 * 30
    assert "given up after a run of 30 of 60 steps" in given_up[0].sentence


def test_a_race_with_halving_judges_who_is_left(data, args):
    found = compare_strategies(make_model, data, STRATEGIES, args, Budget(60, 16), reduction_factor=2)
    assert {result.strategy for result in found.results} | {entry.strategy for entry in found.eliminated} == {
        "head_only", "freeze_first:k=1", "small_lr:factor=1e-06", "full", "from_scratch",
    }  # fmt: skip
    assert len(found.results) == 3
    assert found.verdict is not None


def test_without_a_reduction_factor_all_run_and_one_is_refused(data, args):
    with pytest.raises(SettingsError, match="reduction_factor=1 is out of range"):
        compare_strategies(make_model, data, STRATEGIES, args, Budget(60, 16), reduction_factor=1)
    assert compare_strategies(make_model, data, ["head_only"], args, Budget(10, 16)).eliminated == ()
