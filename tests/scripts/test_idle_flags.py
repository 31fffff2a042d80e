"""A flag that a recipe cannot honour is refused by name; what runs overwrite is known to be such."""

import dataclasses
import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml
from transformers import TrainingArguments

from hf_transfer_kit.commands.edge.idle_flags import IDLE, idle_flags, refuse_idle, typed_flags
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.contest.run_settings import run_settings

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
THROUGH_THE_BUDGET = {"max_steps", "num_train_epochs", "learning_rate"}
DONE_BY_THE_SCRIPT = {"push_to_hub"}


@pytest.fixture
def main(monkeypatch, tmp_path):
    """A script's main with these arguments, in this process."""

    def run(recipe, *flags):
        monkeypatch.setattr(sys, "argv", [f"{recipe}.py", "--output_dir", str(tmp_path / "out"), *map(str, flags)])
        importlib.import_module(f"hf_transfer_kit.commands.{recipe}").main()

    return run


@pytest.mark.parametrize("recipe", IDLE)
def test_idle_flags_are_refused_by_name_before_anything_is_done(recipe, main, tmp_path):
    flags = idle_flags(recipe, {})
    with pytest.raises(SettingsError) as refusal:
        main(recipe, *(word for flag in flags for word in (f"--{flag}", "1")))
    assert f"{recipe}.py cannot honour --" in str(refusal.value)
    assert set(re.findall(r"--(\w+)(?=[,)]| \()", str(refusal.value))) >= set(flags)
    for flag in flags:
        with pytest.raises(SettingsError, match=rf"cannot honour --{flag} \("):
            refuse_idle(recipe, {flag: "1"}, program="it")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("written", [["--save-strategy", "no"], ["--save_strategy=no"], ["--save_strat", "no"]])
def test_however_it_is_written(written, main):
    with pytest.raises(SettingsError, match="cannot honour --save_strategy"):
        main("transfer", *written)


def test_a_settings_file_types_flags_too_and_all_are_named(main, tmp_path):
    (tmp_path / "settings.yaml").write_text("save_steps: 5\ndataset: digits\n")
    with pytest.raises(SettingsError, match=r"--save_steps \(.*; --seed \(give --seeds"):
        main("transfer", "--config", tmp_path / "settings.yaml", "--seed", "3")


def test_defaults_are_not_typed():
    from hf_transfer_kit.commands.flags.arguments import DataArguments
    from hf_transfer_kit.commands.flags.run_arguments import ComparisonArguments

    kinds = (DataArguments, ComparisonArguments)
    assert typed_flags(kinds, []) == {}
    assert typed_flags(kinds, ["--bf16", "--max_steps", "many"]).keys() == {"bf16", "max_steps"}
    assert typed_flags(kinds, ["--no_keep_runs"]).keys() == {"keep_runs"}
    assert typed_flags(kinds, ["--max_steps"]) == {}
    assert "max_steps" in idle_flags("zero_shot", {"train_network": "5"})
    assert "bf16" not in idle_flags("zero_shot", {"train_network": "5"})
    assert "bf16" in idle_flags("zero_shot", {"train_network": "0"})


@pytest.mark.parametrize(("recipe", "own_columns"), [("transfer", False), ("adapt", True), ("multitask", True)])
def test_what_runs_overwrite_is_idle(recipe, own_columns, training_arguments):
    args = training_arguments()
    given = {field.name: object() for field in dataclasses.fields(TrainingArguments)}
    for name, value in given.items():
        object.__setattr__(args, name, value)
    run = run_settings(args, name="full", max_steps=10, learning_rate=0.1, seed=3, own_columns=own_columns)
    overwritten = {name for name, value in given.items() if getattr(run, name) is not value}
    assert {"seed", "data_seed", "save_strategy", "eval_strategy", "run_name"} <= overwritten
    assert overwritten - THROUGH_THE_BUDGET - DONE_BY_THE_SCRIPT <= set(IDLE[recipe])


def test_every_recipe_is_known():
    recipes = {path.stem for path in SCRIPTS.glob("*.py")}
    assert recipes - {"predict"} == set(IDLE)  # predict.py has no flag of TrainingArguments


def test_settings_that_are_in_the_repository_hold_none():
    for path in SCRIPTS.glob("examples/*.yaml"):
        settings = yaml.safe_load(path.read_text())
        assert not set(settings) & set(IDLE["multitask" if "tasks" in settings else "adapt"]), path
