"""Flags of class balance in every script: they reach what is trained, chosen and planned, and are told."""

import json

import pytest
import yaml
from scripts.test_scripts import FAST, imbalanced, network, run  # noqa: F401 - fixtures


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def test_a_depth_is_searched_by_the_metric_and_the_plan_keeps_the_balance(imbalanced, network, tmp_path):  # noqa: F811
    flags = ["--model_name_or_path", network, "--dataset", imbalanced, "--output_dir", tmp_path]
    flags += ["--class_weights", "balanced", "--metric", "balanced_accuracy", "--seeds", "0", *FAST]
    run("search_depth.py", *flags)
    found = json.loads((tmp_path / "depth.json").read_text())
    assert found["metric"] == "balanced_accuracy"
    assert "validation balanced accuracy" in found["sentence"]
    plan = yaml.safe_load((tmp_path / "finetune.yaml").read_text())
    assert (plan["class_weights"], plan["metric"]) == ("balanced", "balanced_accuracy")


def test_a_plan_keeps_the_balance_that_was_asked_for(imbalanced, network, tmp_path):  # noqa: F811
    flags = ["--model_name_or_path", network, "--dataset", imbalanced, "--output_dir", tmp_path / "advice"]
    run("advise.py", *flags, "--sampler", "balanced", "--metric", "macro_f1", *FAST)
    plan = yaml.safe_load((tmp_path / "advice" / "plan.yaml").read_text())
    assert (plan["sampler"], plan["metric"]) == ("balanced", "macro_f1")
    run("finetune.py", "--config", tmp_path / "advice" / "plan.yaml", "--output_dir", tmp_path / "run", *FAST)
    assert "batches hold all classes equally often" in " ".join(report_of(tmp_path / "run")["notes"])
    refused = run("advise.py", *flags, "--metric", "f2", "--overwrite_output_dir", ok=False)
    assert refused.returncode == 2
    assert "metric='f2' is unknown" in refused.stderr


def test_the_source_of_an_adaptation_is_balanced(imbalanced, tmp_path):  # noqa: F811
    flags = ["--source", imbalanced, "--target", imbalanced, "--method", "dann", "--baselines", "false", *FAST]
    run("adapt.py", *flags, "--class_weights", "rare=9", "--output_dir", tmp_path)
    report = report_of(tmp_path)
    assert "the loss weighs classes" in " ".join(report["notes"])
    assert report["confusion"]["labels"] == ["rare", "usual"]
    page = (tmp_path / "report.html").read_text()
    assert "Class by class" in page


@pytest.mark.parametrize("where", ["flags", "task"])
def test_tasks_are_balanced_each_or_all(where, imbalanced, tmp_path):  # noqa: F811
    tasks = {"light": {"dataset": str(imbalanced)}, "digit": {"dataset": "digits", "train_size": 60}}
    flags = []
    if where == "task":
        tasks["light"] |= {"class_weights": {"rare": 9}, "metric": "balanced_accuracy"}
    else:
        flags = ["--sampler", "balanced", "--metric", "balanced_accuracy"]
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    run(
        "multitask.py",
        "--config",
        tmp_path / "tasks.yaml",
        *flags,
        "--output_dir",
        tmp_path / "out",
        "--max_steps",
        "4",
    )
    found = report_of(tmp_path / "out")["multitasking"]
    metrics = {task["name"]: task["metric"] for task in found["tasks"]}
    assert metrics == {"light": "balanced_accuracy", "digit": "balanced_accuracy" if flags else "accuracy"}


def test_classes_never_seen_are_learned_from_balanced_rows(tmp_path):
    flags = ["--splits", "1", "--method", "prototype", "--with_labels", "false"]
    run("zero_shot.py", *flags, "--sampler", "balanced", "--output_dir", tmp_path)
    assert "batches hold all classes equally often" in " ".join(report_of(tmp_path)["notes"])
    refused = run("zero_shot.py", *flags, "--sampler", "some", "--output_dir", tmp_path / "no", ok=False)
    assert refused.returncode == 2
    assert "sampler='some' is unknown" in refused.stderr


def test_labels_that_the_others_contradict_are_listed(tmp_path, network):  # noqa: F811
    flags = ["--model_name_or_path", network, "--dataset", "digits", "--train_size", "200", "--output_dir", tmp_path]
    done = run("advise.py", *flags, *FAST)
    report = report_of(tmp_path)
    assert report["suspected"] == sorted(report["suspected"], key=lambda found: -found["margin"])
    if report["suspected"]:
        first = report["suspected"][0]
        assert f"row {first['row']}: labelled '{first['label']}', looks like '{first['likelier']}'" in done.stdout
        assert "Labels to look at" in (tmp_path / "report.html").read_text()
