"""Whatever is typed wrongly, or lies damaged in a file, ends a script with one sentence before anything is trained."""

import errno
import importlib
import json
import shlex
import shutil
from pathlib import Path

import pytest
import refusing
import tiny
import torch
from transformers import ViTImageProcessor

from hf_transfer_kit.errors import SettingsError

DAMAGED = {
    "weights_of_nothing": ("model.safetensors", b"\x10\0\0\0\0\0\0\0no weights"),
    "weights_cut": ("model.safetensors", None),
    "config_no_json": ("config.json", b"{no json"),
    "config_binary": ("config.json", b"\xff\xfe\x00\x80"),
    "config_list": ("config.json", b"[1, 2]"),
    "config_empty": ("config.json", b"{}"),
    "config_wrong_types": ("config.json", b'{"model_type": "resnet", "hidden_sizes": "x", "num_labels": -3}'),
    "processor_no_json": ("preprocessor_config.json", b"{no json"),
}
FILES = {
    "binary.yaml": b"max_steps: \xff\xfe\x80\n",
    "twice.yaml": b"max_steps: 3\nmax_steps: 5\n",
    "list.yaml": b"- a\n- b\n",
    "open.yaml": b"a: [b\n",
    "number.yaml": b"3: 4\n",
    "mapping.yaml": b"model_name_or_path: {a: b}\n",
    "nul.yaml": b'dataset: "a\\0b"\n',
    "near.yaml": b"max_step: 3\n",
    "truth.yaml": b"seed: true\n",
    "code.yaml": b"max_steps: !!python/object:os.system 3\n",
    "itself.yaml": b"language: &a [*a]\n",
    "flag.yaml": b"strategies: [full, --trust_remote_code]\n",
    "deep.yaml": b"language: " + b"[" * 5000,
    "tasks.yaml": b"tasks: [a]\n",
    "file.txt": b"x",
    "binary.csv": bytes(range(256)) * 40,
    "empty.csv": b"",
    "header.csv": b"text,label\n",
    "damaged.parquet": b"PAR1xxxxPAR1",
    "open.json": b"{no",
    "table.csv": b"class,a,b\ncat,1,0\ndog,0,1\n",
    "hugeint.yaml": b"learning_rate: " + b"9" * 400 + b"\n",
    "two.yaml": b"max_steps: 3\n---\nmax_steps: 4\n",
    "date.yaml": b"max_steps: 2020-01-01\n",
    "seedtext.yaml": b"seeds: abc\n",
    "empty_value.yaml": b"max_steps:\n",
    "words.csv": b"class,a\ncat,much\ndog,0\n",
}

EVERYWHERE = [
    ("--sead 3", "is no flag of"),
    ("--seed -1", "--seed -1 is out of range: give a whole number from 0"),
    ("--learning_rate nan", "--learning_rate nan is no finite number"),
    ("--max_steps -7", "--max_steps -7 is out of range: give a whole number of 1 or more"),
    ("--config nowhere.yaml", "--config nowhere.yaml: there is no such file"),
    ("--config binary.yaml", "is no text in UTF-8"),
    ("--output_dir file.txt/sub", "which is a file; give a folder"),
    ("--validation_size 2", "give a share of the rows, above 0 and below 1"),
    ("--report_to nope", "--report_to nope is unknown"),
]
"""Flags, and a part of the sentence that refuses them, of every script."""

ONCE = [
    ("finetune --stratgy full", "Did you mean --strategy?"),
    ("finetune --image-sise 3", "Did you mean --image_size?"),
    ("finetune --metric_for 3", "is no flag of finetune.py"),
    ("finetune extra words", "'extra' stands behind no flag"),
    ("finetune --seed", "--seed: expected one argument"),
    ("finetune --seeds 0 1 2", "takes one value, so give one; hf-transfer run compares"),
    ("finetune --strategies full head_only", "takes one value, so give one"),
    ("finetune --seeds 1.5", "is not what it should be"),
    ("zero_shot --seeds 0 1", "takes one value, so give one"),
    ("finetune --warmup_steps 1.5", "is no number of steps: give a whole one"),
    ("finetune --max_steps 5 --num_train_epochs 2", "both say how long to train"),
    ("finetune --ddp_timeout -1", "out of range"),
    ("finetune --config empty_value.yaml", "max_steps has no value"),
    ("finetune --label_names foo", "cannot honour --label_names"),
    ("finetune --load_best_model_at_end true --save_strategy no", "does nothing without --save_strategy steps"),
    ("finetune --fsdp_config nowhere.json", "--fsdp_config does nothing without --fsdp"),
    ("finetune --optim sgd --adam_beta1 0.5", "--adam_beta1 does nothing with --optim sgd"),
    ("finetune --optim_args fused=true --optim adafactor", ""),
    ("finetune --optim_target_modules all-linear", "--optim_target_modules does nothing with --optim adamw_torch"),
    ("finetune --use_liger_kernel true", "liger-kernel"),
    ("transfer --strategies full --strategies head_only", "--strategies stands twice"),
    ("adapt --source digits --target digits_m --methods coral coral", "none twice"),
    ("search_depth --depths 1 1", "none twice"),
    ("advise --models model model", "none twice"),
    ("multitask --method single single", "none twice"),
    ("finetune --seed 1.5", "--seed 1.5 is not what it should be: give a whole number"),
    ("finetune --seed 99999999999", "--seed 99999999999 is out of range"),
    ("finetune --learning_rate abc", "give a number"),
    ("finetune --learning_rate=-1", "--learning_rate -1.0 is out of range"),
    ("finetune --learning_rate inf", "no finite number"),
    ("finetune --weight_decay nan", "no finite number"),
    ("finetune --max_grad_norm -1", "out of range"),
    ("finetune --adam_beta1 1", "a number of 0 or more and below 1"),
    ("finetune --warmup_steps -3", "out of range"),
    ("finetune --max_steps 0", "--max_steps 0 is out of range"),
    ("finetune --max_steps 99999999999", "out of range"),
    ("finetune --num_train_epochs 0", "--num_train_epochs 0.0 is out of range"),
    ("finetune --num_train_epochs inf", "no finite number"),
    ("finetune --per_device_train_batch_size 0", "out of range"),
    ("finetune --per_device_eval_batch_size -4", "out of range"),
    ("finetune --gradient_accumulation_steps 0", "out of range"),
    ("finetune --dataloader_num_workers -1", "out of range"),
    ("finetune --dataloader_prefetch_factor 2", "These flags cannot be used together"),
    ("finetune --evaluations 0", "out of range"),
    ("finetune --split_seed -1", "out of range"),
    ("finetune --image_size 0", "give a side from 8 to 8192 pixels"),
    ("finetune --image_size 1", "give a side from 8 to 8192 pixels"),
    ("finetune --image_size 999999", "give a side from 8 to 8192 pixels"),
    ("finetune --max_length 0", "out of range"),
    ("finetune --max_seconds nan", "no finite number"),
    ("finetune --max_seconds 0", "give a number above 0"),
    ("finetune --validation_size 1", "share of the rows"),
    ("finetune --test_size -0.1", "share of the rows"),
    ("finetune --test_size nan", "no finite number"),
    ("finetune --train_size 0", "neither a number of rows nor a share"),
    ("finetune --train_size nan", "neither a number of rows nor a share"),
    ("finetune --train_size inf", "neither a number of rows nor a share"),
    ("finetune --train_size ²", "neither a number of rows nor a share"),
    ("finetune --train_size 1.5", "neither a number of rows nor a share"),
    ("finetune --bf16", "These flags cannot be used together, or not on this machine"),
    ("finetune --fp16", "--fp16 needs a GPU"),
    ("finetune --tf32 true", "These flags cannot be used together, or not on this machine"),
    ("finetune --report_to tensorbord", "Did you mean 'tensorboard'?"),
    ("finetune --eval_strategy step", "Did you mean 'steps'?"),
    ("finetune --lr_scheduler_type cosin", "Did you mean 'cosine'?"),
    ("finetune --lr_scheduler_kwargs {bad", "These flags cannot be used together"),
    ("finetune --lr_scheduler_kwargs nope", "is no mapping: write it as JSON"),
    ("finetune --lr_scheduler_type cosine_with_min_lr", "--lr_scheduler_type cosine_with_min_lr cannot be used"),
    ("finetune --optim adamwtorch", "Did you mean 'adamw_torch'?"),
    ("finetune --optim_args momentum", "--optim adamw_torch_fused cannot be used with --optim_args momentum"),
    ("finetune --optim galore_adamw", "--optim galore_adamw cannot be used"),
    ("finetune --torch_compile_mode fast", "--torch_compile_mode fast is unknown"),
    ("finetune --skip_bad_rows maybe", "give true or false"),
    ("finetune --dataset ''", "--dataset is empty"),
    ("finetune --output_dir /proc/nope", "cannot be written"),
    ("finetune --output_dir file.txt", "is a file; give a folder"),
    ("finetune --cache_dir file.txt", "is a file; give a folder"),
    ("transfer --store file.txt", "is a file; give a folder"),
    ("finetune --plugin", "--plugin needs the path"),
    ("finetune --plugin file.txt", "there is no such Python file"),
    ("finetune --license nope", "no licence"),
    ("finetune --resume_from_checkpoint nowhere", "there is no such folder"),
    ("finetune --resume_from_checkpoint file.txt", "there is no such folder"),
    ("finetune --output_dir /", "is a whole disk"),
    ("finetune --learning_rate 1e400", "no finite number"),
    ("finetune --learning_rate 1,5", "give a number"),
    ("finetune --config hugeint.yaml", "no finite number"),
    ("finetune --strategy small_lr:factor=1e999", "give a finite number"),
    ("finetune --save_steps 0", "out of range"),
    ("finetune --config two.yaml", ""),
    ("finetune --config date.yaml", "--max_steps"),
    ("transfer --config seedtext.yaml", ""),
    ("transfer --seeds 99999999999999999999", "out of range"),
    ("multitask --tasks '{a: {dataset: digits}}' --train_size a=-1", ""),
    ("advise --unlabelled_rows 99999999999999999999", "out of range"),
    ("finetune --label_smoothing_factor 2", "out of range"),
    ("finetune --config", "--config needs the path"),
    ("finetune --config .", "there is no such file"),
    ("finetune --config=near.yaml", "Did you mean 'max_steps'?"),
    ("finetune --config twice.yaml", "'max_steps' stands twice, line 2, column 1"),
    ("finetune --config list.yaml", "holds no names with values"),
    ("finetune --config open.yaml", "is no YAML that can be read"),
    ("finetune --config deep.yaml", "is no YAML that can be read"),
    ("finetune --config number.yaml", "holds names no flag has: 3"),
    ("finetune --config mapping.yaml", "is a mapping, but its flag takes no mapping"),
    ("finetune --config nul.yaml", "holds a NUL character"),
    ("finetune --config truth.yaml", "--seed True is not what it should be"),
    ("finetune --config code.yaml", "is no YAML that can be read"),
    ("finetune --config itself.yaml", "it holds itself"),
    ("transfer --config flag.yaml", "no value begins with a dash"),
    ("finetune --cache_dtype float7", "Did you mean 'float32'?"),
    ("search_depth --cache_dtype float7", "--cache_dtype float7 is unknown"),
    ("finetune --cache_budget 4XB", "is no size"),
    ("finetune --dtype float23", "Did you mean 'float32'?"),
    ("finetune --save_dtype bfloat61", "Did you mean 'bfloat16'?"),
    (
        "finetune --model_name_or_path model --model_revision main",
        "--model_revision main is of a repository on the Hub",
    ),
    ("finetune --model_name_or_path dann_mnist --model_revision main", "--model_revision main is of a repository"),
    ("finetune --old_classes keep", "Did you mean 'kept'?"),
    ("finetune --replay_rows 0", "out of range"),
    ("finetune --margin nan", "no finite number"),
    ("finetune --lwf inf", "no finite number"),
    ("finetune --metric acuracy", "Did you mean 'accuracy'?"),
    ("finetune --sampler balancd", "Did you mean 'balanced'?"),
    ("finetune --class_weights balancd", "write balanced, or class=weight"),
    ("finetune --class_weights 3=nan", "finite numbers above 0"),
    ("finetune --dataset digis", "Did you mean 'digits'?"),
    ("transfer --seeds", "--seeds: expected at least one argument"),
    ("transfer --seeds -1", "--seeds -1 is out of range"),
    ("transfer --seeds 0 0", "none twice"),
    ("transfer --reduction_factor 1", "out of range"),
    ("transfer --strategies ful", "Did you mean 'full'?"),
    ("advise --by hscor", "Did you mean 'h_score'?"),
    ("advise --rank_rows -5", "out of range"),
    ("advise --unlabelled_rows -5", "out of range"),
    ("advise --models a b --model_revision x", "--model_revision is of one network"),
    ("extract_features --format arow", "Did you mean 'arrow'?"),
    ("extract_features --dtype float7", "--dtype float7 is unknown"),
    ("extract_features --pooling mea", "Did you mean 'mean'?"),
    ("search_depth --direction frist", "Did you mean 'first'?"),
    ("search_depth --share nan", "no finite number"),
    ("search_depth --share 2", "above 0 and at most 1"),
    ("search_depth --depths -1", "out of range"),
    ("search_depth --reduction_factor 1", "out of range"),
    ("zero_shot --method eszs", "Did you mean 'eszsl'?"),
    ("zero_shot --mix_with dab", "Did you mean 'dap'?"),
    ("zero_shot --train_method dab", "Did you mean 'dap'?"),
    ("zero_shot --missing men", "Did you mean 'mean'?"),
    ("zero_shot --splits 0", "leaves no split"),
    ("zero_shot --train_network -1", "out of range"),
    ("zero_shot --attributes digit_stroke", "Did you mean 'digit_strokes'?"),
    ("zero_shot --attributes table.csv --class_column clas", "Did you mean 'class'?"),
    ("zero_shot --attributes words.csv", "attributes are numbers"),
    ("zero_shot --attributes binary.csv", ""),
    ("zero_shot --attributes open.json", "cannot be read"),
    ("multitask --config tasks.yaml", "tasks is a list"),
    ("multitask --tasks '{'", "--tasks is no YAML that can be read"),
    ("multitask --tasks 3", "must map names to settings"),
    ("multitask --tasks '{}'", "--tasks names no task"),
    ("multitask --tasks '{a: 3}'", "a has no dataset"),
    ("multitask --tasks '{3: {dataset: digits}}'", "3 is no name"),
    ("multitask --tasks '{a: {dataset: [x]}}'", "a has no dataset"),
    ("multitask --tasks '{a: {dataset: digits}, a: {dataset: digits_m}}'", "'a' stands twice"),
    ("multitask --tasks '{a: {dataset: digits, tpe: x}}'", "Did you mean 'type'?"),
    ("multitask --tasks '{a: {dataset: digits}}' --inputs '{y: 3}'", "y is 3; give it settings"),
    ("multitask --tasks '{abc: {dataset: digits}}' --train_size abd=3", "Did you mean 'abc'?"),
    ("multitask --method singl", "Did you mean 'single'?"),
    ("multitask --method multitask:balancing=pcgra", "Did you mean 'pcgrad'?"),
    ("multitask --method multitask:balancing=[]", "is unknown"),
    ("multitask --method multitask:mixing=equl", "Did you mean 'equal'?"),
    ("multitask --method multitask:temperature=.nan,mixing=temperature", "give a finite number"),
    ("multitask --method replay:rows=0 --source_task digit", "must be a whole number, at least 1"),
    ("multitask --method lwf:weight=-1 --source_task digit", "out of range"),
    ("multitask --shared_from -1", "out of range"),
    ("adapt --select sourc_accuracy", "Did you mean 'source_accuracy'?"),
    ("adapt --source digits", "belong together"),
    ("adapt --seeds -1", "out of range"),
    ("adapt --metric macro_f1", "is no flag of adapt.py"),
    ("adapt --source digits digits --method coral", "--source digits digits: give one or more, and none twice"),
    ("adapt --source digits digits_m --method corl", "Did you mean 'coral'?"),
    ("adapt --source digits digits_m --method joint:average=swat", "Did you mean 'swad'?"),
    ("adapt --source digits digits_m --method coral:weight=]", "the value of weight is no YAML"),
    ("adapt --source_model nowhere/at/all --target digits", "the path does not exist"),
    ("adapt --source_model model --target digits --method shto", "Did you mean 'shot'?"),
]
"""Commands that are refused before data or a network is loaded."""

OPTIONS = [
    ("ful", "Did you mean 'full'?"),
    ("full:x=1", "x is no option of full; its options are head"),
    ("freeze_first:j=1", "'freeze_first:j=1': j is no option of freeze_first"),
    ("freeze_first:k=]", "the value of k is no YAML that can be read"),
    ("freeze_first:k={a", "the value of k is no YAML that can be read"),
    ("freeze_first:k=", "k has no value"),
    ("freeze_first:k=1,k=2", "gives k twice"),
    ("freeze_first:k=*a", "the value of k is no YAML that can be read"),
    ("freeze_first:k=2020-99-99", "the value of k is no YAML that can be read"),
    ("freeze_first:k=!!python/object:os.system x", "the value of k is no YAML that can be read"),
    ("freeze_first:k=1.5", "give a whole number or a text"),
    ("small_lr:factor=x", "give a finite number"),
    ("small_lr:factor=.nan", "give a finite number"),
    ("small_lr:facto=1", "Did you mean 'factor'?"),
    ("lora:r=abc", "give a whole number"),
    ("lora:alpha=[]", "give a finite number"),
    ("l2sp:decoupled=maybe", "give true or false"),
    ("lp_ft:head_fraction=half", "give a finite number"),
    (":", "There is no strategy ''"),
]
METHODS = [
    ("dan", "Did you mean 'dann'?"),
    ("dann:view=.nan", "give a finite number"),
    ("dann:view=x", "give a finite number"),
    ("dann:view=-1", "out of range"),
    ("dann:wieght=1", "Did you mean 'weight'?"),
    ("dann:invert=maybe", "give true or false"),
    ("cdan:entropy=3", "give true or false"),
    ("adamatch:teacher=2", "out of range"),
    ("shallow:x=3", "x is no option of shallow"),
    ("shallow:alignment=corla", "Did you mean 'coral'?"),
    ("shallow:alignment=[]", "is unknown"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a network, damaged copies of it, and files of every kind."""
    folder = tmp_path_factory.mktemp("malformed")
    torch.manual_seed(0)
    model, _ = tiny.TRANSFORMERS["resnet"]()
    model.save_pretrained(folder / "model")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "model")
    for name, (file, content) in DAMAGED.items():
        shutil.copytree(folder / "model", folder / name)
        whole = (folder / name / file).read_bytes()
        (folder / name / file).write_bytes(whole[: len(whole) // 2] if content is None else content)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def refused(monkeypatch, capsys, place):
    """Runs a command, which must end in one sentence; gives the sentence."""
    run = refusing.runner(monkeypatch, capsys, place)

    def check(command: str, words: str) -> str:
        split = shlex.split(command)
        status, said = run(split)
        assert status in (1, 2), f"{command}: status {status}"
        lines = said.strip().splitlines()
        assert len(lines) == 1, f"{command}: {said}"
        assert lines[0].startswith(f"{split[0]}.py: "), f"{command}: {said}"
        # What a recipe cannot honour at all is refused before its value is looked at.
        assert words in lines[0] or "cannot honour" in lines[0], f"{command}: {said}"
        return lines[0]

    return check


@pytest.mark.parametrize("script", refusing.NAMES)
def test_every_script_refuses_in_a_sentence_before_it_loads(script, refused, nothing_loaded):
    for flags, words in EVERYWHERE:
        refused(f"{script} {flags}", words)


@pytest.fixture
def nothing_loaded(monkeypatch):
    """Loading data or weights fails the test."""
    from hf_transfer_kit.backbones import loading

    def went_on(*args, **kwargs):
        raise refusing.WentOnError

    monkeypatch.setattr(loading, "loaded_weights", went_on)
    monkeypatch.setattr(importlib.import_module("hf_transfer_kit.data.loading"), "stored_splits", went_on)


def test_what_is_typed_wrongly_is_refused_before_anything_is_loaded(refused, nothing_loaded):
    for command, words in ONCE:
        refused(command, words)


def test_options_of_strategies_and_methods(refused, monkeypatch):
    refusing.few_rows(monkeypatch)
    for text, words in OPTIONS:
        refused(f"finetune --model_name_or_path model --dataset digits --strategy {shlex.quote(text)}", words)
    for text, words in METHODS:
        refused(f"adapt --method {shlex.quote(text)}", words)


LOADED = "--model_name_or_path {} --output_dir out"


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_checkpoints_are_named(damage, refused, monkeypatch):
    refusing.few_rows(monkeypatch)
    model = LOADED.format(damage)
    for command in (
        f"finetune {model} --dataset digits",
        f"finetune {model} --dataset digits --old_classes kept",
        f"transfer {model} --dataset digits",
        f"extract_features {model} --dataset digits",
        f"search_depth {model} --dataset digits",
        f"advise {model} --dataset digits",
        f"zero_shot {model} --dataset digits --attributes digit_strokes",
        f"adapt {model} --source digits --target digits",
        f"adapt --source_model {damage} --target digits",
        f"multitask {model} --old_classes kept",
    ):
        refused(command, "" if damage == "processor_no_json" else damage)


@pytest.mark.parametrize(
    "data",
    ["binary.csv", "empty.csv", "header.csv", "damaged.parquet", "open.json", "file.txt", "empty", "no/such/path"],
)
def test_damaged_data_is_named(data, refused, monkeypatch):
    refusing.few_rows(monkeypatch)
    for command in (
        f"finetune --model_name_or_path model --dataset {data}",
        f"adapt --source digits --target {data}",
        f"zero_shot --dataset {data} --attributes digit_strokes",
        f"multitask --tasks '{{a: {{dataset: {data}}}}}'",
    ):
        refused(command, "")


def test_rows_columns_and_classes_that_are_not_there(refused, monkeypatch):
    refusing.few_rows(monkeypatch)
    data = "finetune --model_name_or_path model --dataset digits"
    for command, words in [
        (f"{data} --label_column lable", "Did you mean 'label'?"),
        (f"{data} --input_column imag", "Did you mean 'image'?"),
        (f"{data} --class_weights zebra=2", "zebra"),
        (f"{data} --train_size 99999", "more rows than there are"),
        (f"{data} --strategy freeze_first:k=99", "out of range"),
        ("adapt --source digits --target digits --source_rows label", "write column=value"),
        ("adapt --source digits --target digits --source_rows lable=3", "Did you mean 'label'?"),
        ("adapt --source digits --target digits --target_rows label=zebra", "none has 'zebra'"),
        ("multitask --tasks '{a: {dataset: digits, rows: x}}'", "is no mapping; give column -> list of values"),
        ("multitask --tasks '{a: {dataset: digits, rows: {label: 3}}}'", "give a list of values"),
        (
            "multitask --tasks '{a: {dataset: digits, classes: 3}}'",
            "give a list of names",
        ),
        ("multitask --tasks '{a: {dataset: digits, train_size: x}}'", "neither a whole number of rows nor a share"),
        ("multitask --tasks '{a: {dataset: digits, type: regresion}}'", "Did you mean 'regression'?"),
        ("multitask --tasks '{a: {dataset: digits, metric: acc}}'", "Give one of these"),
        ("zero_shot --dataset digits --attributes digit_strokes --unseen 3 3", "none twice"),
        ("zero_shot --dataset digits --attributes digit_strokes --unseen 33", "is no class"),
        ("zero_shot --dataset digits --attributes digit_strokes --describe_with nowhere", "could not be loaded"),
        ("zero_shot --dataset digits --attributes digit_strokes --describe_with config_no_json", "cannot be read"),
        ("finetune --model_name_or_path model/config.json --dataset digits", "is a file; give the folder"),
        ("extract_features --model_name_or_path dann_mnst --dataset digits", "Did you mean 'dann_mnist'?"),
    ]:
        refused(command, words)


def test_there_are_more_than_three_hundred_commands():
    assert len(EVERYWHERE) * len(refusing.NAMES) + len(ONCE) + len(OPTIONS) + len(METHODS) + 10 * len(DAMAGED) > 300


def test_a_fault_of_the_kit_keeps_its_trace(monkeypatch, capsys, tmp_path):
    refusing.runner(monkeypatch, capsys, tmp_path)
    from hf_transfer_kit.commands.edge.settings import sentences_for_errors

    for fault in (KeyError("a"), ValueError("b"), RuntimeError("c"), FileNotFoundError(errno.ENOENT, "d", "e")):

        def main(fault=fault):
            raise fault

        with pytest.raises(type(fault)):
            sentences_for_errors(main)


def test_files_devices_and_figures_that_fail_end_with_status_1(monkeypatch, capsys, tmp_path):
    refusing.runner(monkeypatch, capsys, tmp_path)
    from safetensors import SafetensorError

    from hf_transfer_kit.commands.edge.settings import sentences_for_errors
    from hf_transfer_kit.errors import DataError, NotFiniteError

    caused = DataError("The folder cannot be written.")
    caused.__cause__ = OSError(errno.EROFS, "read-only", "x")
    for error, words in [
        (OSError(errno.ENOSPC, "full", "weights"), "No space is left on a disk to write weights."),
        (PermissionError(errno.EACCES, "no", "out"), "The permission is missing (out)"),
        (
            RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 499392 vs 499280"),
            "No space is left on a disk",
        ),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "No space is left on a disk"),
        (SafetensorError("invalid header length"), "A file that was read is damaged: invalid header length"),
        (torch.OutOfMemoryError("CUDA out of memory"), "The memory of the device does not suffice"),
        (MemoryError(), "The memory of this machine does not suffice"),
        (NotFiniteError("The loss is nan."), "The loss is nan."),
        (caused, "The folder cannot be written."),
    ]:

        def main(error=error):
            raise error

        with pytest.raises(SystemExit) as left:
            sentences_for_errors(main)
        said = capsys.readouterr().err
        assert left.value.code == 1
        assert words in said
        assert len(said.splitlines()) == 1


def test_a_settings_file_cannot_smuggle_a_flag_in(monkeypatch, capsys, tmp_path):
    refusing.runner(monkeypatch, capsys, tmp_path)
    from hf_transfer_kit.commands.edge.settings import parse_arguments
    from hf_transfer_kit.commands.flags.network_arguments import ModelArguments

    (tmp_path / "x.yaml").write_text(json.dumps({"model_name_or_path": "--trust_remote_code"}))
    with pytest.raises(SettingsError, match="no value begins with a dash"):
        parse_arguments(ModelArguments, argv=["--config", "x.yaml"])
