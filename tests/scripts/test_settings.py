"""Settings files: what they may not set, what they cannot smuggle in, and paths that are found from anywhere."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from hf_transfer_kit.commands.edge import places, settings
from hf_transfer_kit.commands.edge.settings import resolved_config
from hf_transfer_kit.commands.edge.settings_files import merged_settings
from hf_transfer_kit.commands.flags.run_arguments import KitTrainingArguments
from hf_transfer_kit.errors import SettingsError


@dataclass
class Flags:
    dataset: str | None = None
    source: list[str] = field(default_factory=list)
    model_name_or_path: str | None = None
    trust_remote_code: bool = False
    overwrite_output_dir: bool = False
    push_to_hub: bool = False
    hub_token: str | None = None
    seed: int = 0
    rate: float = 0.0


@dataclass
class RunFlags(Flags):
    max_steps: int = -1
    num_train_epochs: float = 0.0
    methods: list[str] = field(default_factory=list, metadata={"aliases": ["--method"]})


def parsed(settings, tmp_path, text, *argv, kind=Flags):
    path = tmp_path / "shared.yaml"
    path.write_text(text)
    return settings.parse_arguments(kind, argv=["--config", str(path), *argv])[0]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("trust_remote_code: true", "trust_remote_code"),
        ("trust_remote_code: 'false'", "trust_remote_code"),
        ("trust-remote-code: true", "trust_remote_code"),
        ("--trust_remote_code: yes", "trust_remote_code"),
        ("plugin: evil.py", "plugin"),
        ("plugin: [evil.py]", "plugin"),
        ("overwrite_output_dir: true", "overwrite_output_dir"),
        ("push_to_hub: true", "push_to_hub"),
        ("hub_token: sesame", "hub_token"),
    ],
)
def test_what_runs_code_or_sends_away_is_refused_in_a_file_by_name(tmp_path, text, name):
    with pytest.raises(SettingsError, match=rf"sets {name}, which only the command line may") as refused:
        parsed(settings, tmp_path, f"seed: 1\n{text}\n")
    assert "sesame" not in str(refused.value)


def test_on_the_command_line_it_may(tmp_path):
    flags = parsed(settings, tmp_path, "seed: 3\ntrust_remote_code: false\n", "--trust_remote_code", "--rate", "-1")
    assert (flags.trust_remote_code, flags.seed, flags.rate) == (True, 3, -1.0)


@pytest.mark.parametrize(
    "text",
    ["dataset: --trust_remote_code", "source: [a, --trust_remote_code, 'true']", "dataset: --trust", "source: ['-h']"],
)
def test_a_value_cannot_be_a_flag(tmp_path, text):
    with pytest.raises(SettingsError, match="no value begins with a dash"):
        parsed(settings, tmp_path, text)
    assert parsed(settings, tmp_path, "rate: -1e-3").rate == -1e-3
    assert parsed(settings, tmp_path, "rate: '-2'").rate == -2


def test_saved_settings_hold_no_switch_and_paths_that_serve_anywhere(tmp_path, monkeypatch):
    (tmp_path / "birds").mkdir()
    (tmp_path / "net").mkdir()
    monkeypatch.chdir(tmp_path)
    flags = Flags("birds", [str(tmp_path / "birds"), "digits", "me/hub"], "net", True, True, True, "sesame")
    config = settings.resolved_config(flags)
    assert config == {
        "dataset": str(tmp_path / "birds"), "source": [str(tmp_path / "birds"), "digits", "me/hub"],
        "model_name_or_path": str(tmp_path / "net"), "seed": 0, "rate": 0.0,
    }  # fmt: skip
    monkeypatch.chdir("/")
    again = parsed(settings, tmp_path, yaml.safe_dump(config))
    assert Path(again.dataset).is_dir()
    assert settings.resolved_config(again) == config


def test_of_tasks_only_what_names_files_is_a_path(tmp_path, monkeypatch):
    for name in ("birds", "grey"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    tasks = {"kind": {"dataset": "birds", "input": "grey"}, "digit": {"dataset": "digits"}}
    assert places.absolute("tasks", tasks)["kind"] == {"dataset": str(tmp_path / "birds"), "input": "grey"}
    assert places.absolute("tasks", tasks)["digit"] == {"dataset": "digits"}
    assert places.absolute("unseen", ["grey"]) == ["grey"]
    assert places.absolute("unseen", "grey") == str(tmp_path / "grey")
    assert places.absolute("label_column", "grey") == "grey"


def test_the_comment_of_a_file_cannot_break_it(tmp_path):
    settings.write_settings(tmp_path / "plan.yaml", {"seed": 1}, comment="a\x00b\nc\u2028dataset: evil\x85seed: 2")
    assert yaml.safe_load((tmp_path / "plan.yaml").read_text(encoding="utf-8")) == {"seed": 1}


def test_the_output_is_apart_from_whatever_a_flag_reads(tmp_path, monkeypatch):
    @dataclass
    class Args:
        output_dir: str
        overwrite_output_dir: bool = True

    @dataclass
    class Tasks:
        tasks: dict

    (tmp_path / "birds").mkdir()
    monkeypatch.chdir(tmp_path)
    tasks = Tasks({"kind": {"dataset": "birds"}})
    for flags, flag in (
        (Flags(dataset="birds"), "dataset"),
        (Flags(source=["digits", "birds"]), "source"),
        (tasks, "tasks"),
    ):
        with pytest.raises(SettingsError, match=f"lies in the folder of --{flag}"):
            places.checked_output(Args("birds/out"), flags)
    with pytest.raises(SettingsError, match="is the folder of --model_name_or_path"):
        places.checked_output(Args("birds"), Flags(model_name_or_path="birds"))
    places.checked_output(Args("out"), Flags(dataset="birds", model_name_or_path="birds"), tasks)


def test_of_two_ways_to_say_the_same_what_is_typed_displaces_the_file_and_both_are_refused(tmp_path):
    flags = parsed(settings, tmp_path, "max_steps: 5\n", "--num_train_epochs", "3", kind=RunFlags)
    assert (flags.max_steps, flags.num_train_epochs) == (-1, 3.0)
    flags = parsed(settings, tmp_path, "max_steps: 5\nnum_train_epochs: 0.0\n", kind=RunFlags)  # as a run notes them
    assert (flags.max_steps, flags.num_train_epochs) == (5, 0.0)
    for text, typed in [
        ("max_steps: 5\nnum_train_epochs: 2\n", []),
        ("seed: 1\n", ["--max_steps", "5", "--num_train_epochs=2"]),
    ]:
        with pytest.raises(SettingsError, match=r"--max_steps 5 and --num_train_epochs 2 both say how long"):
            parsed(settings, tmp_path, text, *typed, kind=RunFlags)


def test_of_two_files_the_later_wins(tmp_path):
    (tmp_path / "later.yaml").write_text("seed: 2\n")
    later = ["--config", str(tmp_path / "later.yaml")]
    assert parsed(settings, tmp_path, "seed: 1\nrate: 4\n", *later) == Flags(seed=2, rate=4.0)
    assert parsed(settings, tmp_path, "seed: 1\nrate: 4\n", *later, "--seed", "3").seed == 3


@pytest.mark.parametrize("typed", [("--methods", "a", "--methods", "b"), ("--methods=a", "--method", "b")])
def test_a_list_that_is_typed_twice_is_refused_and_a_value_is_the_last(tmp_path, typed):
    with pytest.raises(SettingsError, match="--methods stands twice"):
        parsed(settings, tmp_path, "methods: [c]\n", *typed, kind=RunFlags)
    flags = parsed(settings, tmp_path, "methods: [c]\n", "--method", "a", "--seed", "1", "--seed", "2", kind=RunFlags)
    assert flags == RunFlags(seed=2, methods=["a"])


def test_a_name_without_a_value_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="rate has no value"):
        parsed(settings, tmp_path, "seed: 1\nrate:\n")


def test_rows_a_step_are_one_number_however_they_are_dealt(tmp_path):
    """Typed, from a file, by device or over all: the same rows, and what is saved says how many."""

    def rows(**given):
        args = KitTrainingArguments(str(tmp_path), **given)
        return args.batch_size, args.per_device_train_batch_size

    assert rows() == (32, 32)
    assert rows(batch_size=12, gradient_accumulation_steps=3) == (12, 4)
    assert rows(per_device_train_batch_size=6, gradient_accumulation_steps=2) == (12, 6)
    assert "batch_size" not in resolved_config(KitTrainingArguments(str(tmp_path)))
    saved = resolved_config(KitTrainingArguments(str(tmp_path), per_device_train_batch_size=6))
    assert {name for name in saved if "train_batch_size" in name or name == "batch_size"} == {"batch_size"}
    with pytest.raises(SettingsError, match="Leave one out"):
        rows(batch_size=8, per_device_train_batch_size=8)
    with pytest.raises(SettingsError, match="multiple of 3, at least 3"):
        rows(batch_size=8, gradient_accumulation_steps=3)
    (tmp_path / "old.yaml").write_text("per_device_train_batch_size: 64\n")
    words = merged_settings((KitTrainingArguments,), ["--config", str(tmp_path / "old.yaml"), "--batch_size", "8"])
    assert words == ["--batch_size", "8"]
