"""Recipes whose runs go on until their score has flattened: by default where they are long, and as flags ask."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from scripts.test_scripts import FAST, network, run  # noqa: F401

STILL = ["--learning_rate", "1e-12"]
DIGITS = ["--dataset", "digits", "--train_size", "48"]
PLATEAU = ["--lr_scheduler_type", "reduce_lr_on_plateau", "--eval_strategy", "steps"]
OPEN = ["--max_steps", "40", "--evaluations", "10", "--patience", "2"]


def test_a_run_that_would_be_long_ends_by_its_score_where_its_steps_are_not_named(network, tmp_path):  # noqa: F811
    flags = ["--model_name_or_path", network, *DIGITS, "--batch_size", "1", *STILL, "--strategy", "head_only"]
    done = run("finetune.py", *flags, "--output_dir", tmp_path)
    # 8 passes are 384 steps, in 20 looks
    sentence = "head_only ended after 108 of at most 384 steps: its score had flattened."
    assert sentence in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert sentence in report["notes"]
    assert [point["step"] for point in report["results"][0]["curve"]] == [20, 40, 60, 80, 100, 108]
    page = (tmp_path / "report.html").read_text()
    assert sentence in page
    assert "at most 384 steps of 1 rows each" in page
    assert {**report["plan"], **report["budget"]}.items() >= {"patience": 3, "max_minutes": 3.0, "steps": 384}.items()


def test_a_race_says_before_how_long_and_after_why(network, tmp_path):  # noqa: F811
    flags = ["--model_name_or_path", network, *DIGITS, *OPEN, *STILL, "--strategies", "head_only", "full"]
    done = run("transfer.py", *flags, "--output_dir", tmp_path)
    assert "a run ends when its score has flattened, after at most 40 steps." in done.stdout
    results = json.loads((tmp_path / "report.json").read_text())["results"]
    for result in results:
        (steps,), (ended,) = result["steps"], result["ended"]
        assert (steps < 40) == (ended == "flat")
    assert (
        f"head_only ended after {results[0]['steps'][0]} of at most 40 steps: its score had flattened." in done.stdout
    )
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert (config["patience"], config["evaluations"]) == (2, 10)


@pytest.mark.parametrize("stopped", ["checkpoint-8", "checkpoint-12", "checkpoint-16"])
def test_finetune_goes_on_as_if_it_had_never_stopped(stopped, network, tmp_path):  # noqa: F811
    flags = ["--model_name_or_path", network, *DIGITS, *OPEN, *STILL, "--strategy", "lp_ft:head=random"]
    saving = ["--save_strategy", "steps", "--save_steps", "4"]
    done = run("finetune.py", *flags, *saving, "--output_dir", tmp_path / "whole")
    assert "its score had flattened" in done.stdout
    resumed = shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    again = ["--overwrite_output_dir", "--resume_from_checkpoint", resumed / stopped, "--output_dir", resumed]
    done = run("finetune.py", *flags, *again)
    assert "rates follow the new number" not in done.stdout
    first, second = (load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_several_tasks_end_by_their_scores_too(tmp_path):
    done = run("multitask.py", *OPEN, *STILL, "--methods", "multitask", "--output_dir", tmp_path)
    assert "multitask ended after" in done.stdout
    assert "A task alone: at most 40 steps of 32 rows" in (tmp_path / "report.html").read_text()
    assert "A task alone spent at most 40 steps" in (tmp_path / "README.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["multitasking"]["results"][0]["ended"] == ["flat"]


@pytest.mark.parametrize("script", ["finetune.py", "multitask.py"])
def test_two_processes_end_together_where_one_would(script, network, tmp_path):  # noqa: F811
    flags = [*OPEN, "--learning_rate", "0.001", "--use_cpu"]
    if script == "finetune.py":
        flags += ["--model_name_or_path", network, *DIGITS, "--strategy", "gradual"]
    else:
        flags += ["--methods", "multitask"]
    reports = []
    for ranks in (1, 2):
        more = {"ranks": 2, "cold": True} if ranks == 2 else {}
        run(script, *flags, *(["--ddp_backend", "gloo"] if more else []), "--output_dir", tmp_path / str(ranks), **more)
        reports.append(json.loads((tmp_path / str(ranks) / "report.json").read_text()))
    one, two = ((report["multitasking"] or report)["results"][0] for report in reports)
    names = ("ended", "run_steps" if script == "multitask.py" else "steps")
    assert [one[name] for name in names] == [two[name] for name in names]


@pytest.mark.parametrize(
    ("script", "flags", "message"),
    [
        ("finetune.py", ["--patience", "2", "--eval_strategy", "no"], "never looks at the score"),
        ("finetune.py", ["--max_steps", "9", "--patience", "7", "--evaluations", "7"], "A patience of 7 looks never"),
        ("finetune.py", [*OPEN, *PLATEAU], "lowers the rate by figures of its own"),
        ("transfer.py", ["--max_minutes", "0"], "--max_minutes 0.0 is out of range"),
        ("multitask.py", ["--max_steps", "9", "--evaluations", "3"], "--evaluations 3 does nothing where runs do all"),
    ],
)  # fmt: skip
def test_what_could_not_end_a_run_is_refused(script, flags, message, tmp_path):
    done = run(script, *flags, "--output_dir", tmp_path / "out", ok=False)
    assert message in done.stderr + done.stdout
    assert not (tmp_path / "out" / "report.json").exists()
