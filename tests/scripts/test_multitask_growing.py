"""multitask.py --old_classes kept: a task's old classes stay while it learns further ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import ClassLabel, DatasetDict
from safetensors.torch import load_file
from scripts.test_scripts import run

from hf_transfer_kit import load_inputs
from hf_transfer_kit.data.embedded import embedded_data
from hf_transfer_kit.multitask import MultiTaskModel

FAST = ["--max_steps", "3", "--per_device_train_batch_size", "8", "--use_cpu", "--method", "multitask"]
NUMBERS = {"two": 2, "six": 6, "four": 4, "one": 1}


def save(names, embedded, folder):
    splits = {}
    for split, rows in embedded_data(embedded).items():
        kept = np.concatenate([np.flatnonzero(np.array(rows["label"]) == NUMBERS[name])[:20] for name in names])
        labels = [next(i for i, name in enumerate(names) if NUMBERS[name] == rows["label"][row]) for row in kept]
        chosen = rows.select(kept).remove_columns("label")
        splits[split] = chosen.add_column("label", labels, feature=ClassLabel(names=names))
    DatasetDict(splits).save_to_disk(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A network that knows two and six in grey and in colour, and data with further digits in grey."""
    folder = tmp_path_factory.mktemp("tasks")
    save(["two", "six"], "digits", folder / "grey")
    save(["two", "six"], "digits_m", folder / "colour")
    save(["four", "six", "one", "two"], "digits", folder / "more")
    inputs = {"grey": {"channels": 1}, "colour": {}}
    for name, grey in (("first", "grey"), ("second", "more")):
        tasks = {
            "digit": {"dataset": str(folder / grey), "input": "grey"},
            "coloured": {"dataset": str(folder / "colour"), "input": "colour"},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"tasks": tasks, "inputs": inputs}, sort_keys=False))
    run("multitask.py", "--config", folder / "first.yaml", *FAST, "--output_dir", folder / "trained")
    return folder


def test_old_classes_of_a_task_stay_and_are_judged(place, tmp_path):
    flags = ["--config", place / "second.yaml", *FAST, "--old_classes", "kept", "--output_dir", tmp_path]
    done = run("multitask.py", *flags, "--model_name_or_path", place / "trained", "--learning_rate", "1e-9")
    came, grown = (MultiTaskModel.from_pretrained(folder).eval() for folder in (place / "trained", tmp_path))
    assert list(came.config.tasks["digit"]["id2label"].values()) == ["two", "six"]
    assert list(grown.config.tasks["digit"]["id2label"].values()) == ["two", "six", "four", "one"]
    before, after = (load_file(folder / "model.safetensors") for folder in (place / "trained", tmp_path))
    weight = "heads.digit.linear.weight"
    assert torch.allclose(after[weight][:2], before[weight], atol=1e-6)
    assert torch.allclose(after["heads.coloured.linear.weight"], before["heads.coloured.linear.weight"], atol=1e-6)
    rows = DatasetDict.load_from_disk(place / "more")["test"]
    names = np.array([rows.features["label"].names[label] for label in rows["label"]])
    batch = load_inputs(tmp_path, input="grey")(list(rows["image"]))
    with torch.no_grad():
        said = {
            "before": np.array(["two", "six"])[came(task="digit", **batch).logits.argmax(1)],
            "after": np.array(["two", "six", "four", "one"])[grown(task="digit", **batch).logits.argmax(1)],
        }
    old = np.isin(names, ["two", "six"])
    told = [
        f"{100 * np.mean(said[when][old] == names[old]):.1f} % {then}"
        for when, then in (("before", "before"), ("after", "now"))
    ]
    assert f"Old classes: {told[0]}, among 2, {told[1]}, among all 4" in done.stdout
    (note,) = [note for note in json.loads((tmp_path / "report.json").read_text())["notes"] if "Old classes" in note]
    assert note.startswith("digit: ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--model_name_or_path", "{place}/trained", "--tasks", "digit: {dataset: {place}/more, input: grey}"],
            "--tasks does not name",
        ),
        ([], "--old_classes kept needs the saved network whose classes stay"),
        (["--model_name_or_path", "dann_mnist"], "--old_classes kept needs the saved network whose classes stay"),
        (["--old_classes", "both"], "--old_classes both is unknown; choose kept, replaced"),
    ],
)
def test_what_cannot_be_kept_is_told(flags, message, place, tmp_path):
    flags = [flag.replace("{place}", str(place)) for flag in flags]
    if "--tasks" in flags:
        flags += ["--inputs", "grey: {channels: 1}"]
    begin = ["--config", place / "second.yaml", *FAST, "--old_classes", "kept", "--output_dir", tmp_path / "out"]
    done = run("multitask.py", *begin, *flags, ok=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
