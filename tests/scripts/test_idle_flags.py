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
from hf_transfer_kit.commands.edge.needed_flags import NEEDED, refuse_without
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.contest.run_settings import run_settings

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
THROUGH_THE_BUDGET = {"max_steps", "num_train_epochs", "learning_rate", "per_device_train_batch_size"}
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


def test_every_flag_of_the_data_is_read_of_a_stream_or_refused_beside_it(main, monkeypatch, tmp_path):
    """Found by watching a run: a flag that nothing reads would be passed over in silence."""
    import tiny
    from hub.sharing_cases import image_processor

    from hf_transfer_kit.commands import extract_features
    from hf_transfer_kit.commands.flags.arguments import DataArguments
    from hf_transfer_kit.commands.flags.stream_arguments import StreamArguments

    tiny.TRANSFORMERS["resnet"]()[0].save_pretrained(tmp_path / "network")
    image_processor().save_pretrained(tmp_path / "network")
    kinds, read, parse = (DataArguments, StreamArguments, extract_features.FeatureArguments), set(), None

    def watched(*args, **kwargs):
        parsed = parse(*args, **kwargs)
        for kind in kinds:
            monkeypatch.setattr(kind, "__getattribute__", seen, raising=False)
        return parsed

    def seen(self, name):
        read.add(name)
        return object.__getattribute__(self, name)

    parse = extract_features.parse_arguments
    monkeypatch.setattr(extract_features, "parse_arguments", watched)
    main("extract_features", "--streaming", "--model_name_or_path", tmp_path / "network", "--dataset", "digits")
    flags = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    refused = set(idle_flags("extract_features", {"streaming": "True"})) - set(idle_flags("extract_features", {}))
    assert refused <= flags
    assert flags - read - refused == set()
    assert refused & read == set()


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
    given["gradient_accumulation_steps"] = 1  # by which a step's rows are divided
    for name, value in given.items():
        object.__setattr__(args, name, value)
    run = run_settings(
        args, name="full", max_steps=10, batch_size=8, learning_rate=0.1, seed=3, own_columns=own_columns
    )
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


ALWAYS_DO_SOMETHING = [
    "output_dir",
    "per_device_train_batch_size",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "optim",
    "optim_args",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "optim_target_modules",
    "gradient_accumulation_steps",
    "average_tokens_across_devices",
    "max_grad_norm",
    "label_smoothing_factor",
    "bf16",
    "fp16",
    "bf16_full_eval",
    "fp16_full_eval",
    "tf32",
    "activation_checkpointing",
    "gradient_checkpointing",
    "torch_compile",
    "torch_compile_backend",
    "torch_compile_mode",
    "use_liger_kernel",
    "use_cache",
    "neftune_noise_alpha",
    "torch_empty_cache_steps",
    "logging_strategy",
    "log_on_each_node",
    "logging_nan_inf_filter",
    "include_num_input_tokens_seen",
    "log_level",
    "log_level_replica",
    "disable_tqdm",
    "report_to",
    "eval_strategy",
    "per_device_eval_batch_size",
    "eval_on_start",
    "eval_accumulation_steps",
    "save_strategy",
    "push_to_hub",
    "full_determinism",
    "seed",
    "data_seed",
    "use_cpu",
    "accelerator_config",
    "parallelism_config",
    "dataloader_drop_last",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "dataloader_prefetch_factor",
    "remove_unused_columns",
    "train_sampling_strategy",
    "ddp_find_unused_parameters",
    "ddp_bucket_cap_mb",
    "ddp_broadcast_buffers",
    "ddp_static_graph",
    "ddp_backend",
    "ddp_timeout",
    "fsdp",
    "deepspeed",
    "debug",
    "skip_memory_metrics",
    "resume_from_checkpoint",
    "local_rank",
]
"""What does something in finetune.py by itself, on some machine; optimizers' options are looked at with the optimizer."""


def test_every_flag_of_trainer_is_known_as_idle_as_needing_another_or_as_doing_something():
    names = {field.name for field in dataclasses.fields(TrainingArguments)}
    known = [set(IDLE["finetune"]), set(NEEDED), set(ALWAYS_DO_SOMETHING)]
    assert names <= set().union(*known), "look at what the new ones do without others"
    assert not known[1] & known[2]
    assert {need.flag for needs in NEEDED.values() for need in needs} <= names | {"streaming"}


@pytest.mark.parametrize("flag", NEEDED)
def test_a_flag_that_does_nothing_without_another_is_refused_until_that_is_given(flag):
    needs = NEEDED[flag]
    off = {need.flag: "no" for need in needs}
    with pytest.raises(SettingsError, match=rf"--{flag} does nothing without --{needs[0].flag}"):
        refuse_without({flag: "1", **off})
    refuse_without({flag: "false", **off})
    for need in needs:
        held = "true" if not need.value else need.value.split(",")[0].split(" or ")[0]
        refuse_without({flag: "1", need.flag: {"1": "1", "a tracker": "tensorboard"}.get(held, held)})
