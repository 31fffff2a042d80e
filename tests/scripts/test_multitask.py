"""scripts/multitask.py as a user runs it."""

import json

import processes
import pytest
import torch
import yaml
from scripts.test_scripts import ROOT, run
from transformers import AutoModel, AutoModelForImageClassification

import hf_transfer_kit.multitask  # noqa: F401 - registers the class
from hf_transfer_kit import load_data, load_inputs

FAST = ["--max_steps", "3", "--per_device_train_batch_size", "8", "--use_cpu"]
TWO = {"digit": {"dataset": "digits"}, "colour": {"dataset": "digits_m", "train_size": 100}}


def test_the_embedded_example_leaves_a_report_and_a_network_of_all_tasks(tmp_path):
    done = run("multitask.py", *FAST, "--output_dir", tmp_path, "--seeds", "0", "1")
    report = json.loads((tmp_path / "report.json").read_text())
    found = report["multitasking"]
    assert [task["name"] for task in found["tasks"]] == ["digit", "ink", "colour_digit"]
    assert [result["method"] for result in found["results"]] == ["single", "multitask"]
    assert found["chosen"] == "multitask"
    assert "* multitask" in done.stdout
    model = AutoModel.from_pretrained(tmp_path).eval()
    assert type(model).__name__ == "MultiTaskModel"
    assert {name: task["input"] for name, task in model.config.tasks.items()} == {
        "digit": "grey", "ink": "grey", "colour_digit": "colour",
    }  # fmt: skip
    grey = torch.rand(2, 1, 28, 28)
    said = model(task="digit", grey__pixel_values=grey).logits
    plain = model.export("digit")
    plain.save_pretrained(tmp_path / "plain")
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "plain").eval()
    assert torch.allclose(again(grey).logits, said, atol=1e-6)
    for task, given, data in (("digit", "grey", "digits"), ("colour_digit", "colour", "digits_m")):
        rows = load_data(data).test
        batch = load_inputs(tmp_path, input=given)(list(rows["image"]))
        with torch.no_grad():
            right = model(task=task, **batch).logits.argmax(1) == torch.tensor(rows["label"])
        assert right.float().mean().item() == pytest.approx(report["metrics"][f"{task}_accuracy"], abs=1e-6)
    # In a process that has nothing but the class's module, as the card says.
    usage = (
        "import hf_transfer_kit.multitask\nfrom transformers import AutoModel\n"
        f"print(type(AutoModel.from_pretrained({str(tmp_path)!r}).export('digit')).__name__)"
    )
    said = processes.run(["-c", usage], cwd=ROOT)
    assert said.stdout.strip() == "DannMnistForImageClassification", said.stderr
    accuracy = found["results"][1]["figures"]["digit"]["by_seed"][0]
    assert report["metrics"]["digit_accuracy"] == accuracy
    assert "model-index" in (tmp_path / "README.md").read_text()


def test_config_gives_the_same_run_again_and_tasks_keep_their_order(tmp_path):
    tasks = {"zebra": TWO["colour"], "ant": TWO["digit"]}
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump({"tasks": tasks, "source_task": "ant"}, sort_keys=False))
    flags = ["--config", tmp_path / "tasks.yaml", "--method", "replay:rows=20", "lwf", *FAST]
    run("multitask.py", *flags, "--train_size", "zebra=50", "--output_dir", tmp_path / "first", cold=True)
    run("multitask.py", "--config", tmp_path / "first" / "config.yaml", "--output_dir", tmp_path / "second")
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "second"))
    assert first["metrics"] == second["metrics"]
    assert [task["name"] for task in second["multitasking"]["tasks"]] == ["zebra", "ant"]
    assert second["multitasking"]["tasks"][0]["sizes"]["train"] == 50
    assert first["multitasking"]["before"] == second["multitasking"]["before"]


def test_what_does_not_fit_ends_in_a_sentence(tmp_path):
    done = run("multitask.py", "--method", "several", *FAST, "--output_dir", tmp_path, ok=False)
    assert done.returncode == 2, done.stderr
    assert "no method 'several'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "report.json").exists()
