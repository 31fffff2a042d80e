"""scripts/zero_shot.py as a user runs it."""

import json
import re

import processes
import pytest
import torch
from joint_networks import save
from scripts.test_scripts import run
from transformers import AutoModel

import hf_transfer_kit.zero_shot  # noqa: F401 - registers the class
from hf_transfer_kit import load_data

FAST = ["--splits", "2", "--train_size", "200", "--use_cpu", "--method", "eszsl", "prototype"]
ONE = [*FAST[:-2], "prototype"]


def test_the_embedded_example_leaves_a_report_and_a_model_that_takes_new_classes(tmp_path):
    done = run("zero_shot.py", *FAST, "--output_dir", tmp_path, "--cache_dir", tmp_path / "cache")
    report = json.loads((tmp_path / "report.json").read_text())
    found = report["zero_shot"]
    assert "split 2 of 2" in done.stdout
    assert found["classes"] == [str(digit) for digit in range(10)]
    assert len(found["unseen"]) == 2
    assert found["lookup"] == 1.0
    assert all(accuracy > 0.9 for accuracy in found["labelled"])
    assert f"* {found['chosen']}" in done.stdout
    model = AutoModel.from_pretrained(tmp_path).eval()
    assert model.config.seen == [name for name in found["classes"] if name not in found["unseen"][0]]
    assert model.config.gamma == pytest.approx(report["plan"]["gamma"], abs=1e-6)
    pictures = torch.rand(2, 3, 28, 28)
    assert model(pixel_values=pictures).logits.shape == (2, 10)
    assert len(model.explain(pixel_values=pictures)) == 2
    # In a process that has nothing but the class's module, as the card says.
    usage = re.search(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)[1]
    load_data("digits").test[0]["image"].save(tmp_path / "photo.jpg")
    done = processes.run(["-c", usage], cwd=tmp_path)
    assert done.stdout.splitlines()[0] in found["classes"], done.stderr
    assert "10: 'a new class'" in done.stdout, done.stderr


def test_the_network_may_be_trained_first_and_config_gives_the_same_again(tmp_path):
    flags = [
        "--train_network",
        "3",
        "--train_method",
        "ale",
        "--per_device_train_batch_size",
        "8",
    ]
    run("zero_shot.py", *ONE, *flags, "--unseen", "2", "7", "--output_dir", tmp_path / "first", cold=True)
    run("zero_shot.py", "--config", tmp_path / "first" / "config.yaml", "--output_dir", tmp_path / "second")
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "second"))
    assert first["metrics"] == second["metrics"]
    assert first["zero_shot"]["unseen"] == second["zero_shot"]["unseen"]
    assert first["zero_shot"]["unseen"][0] == ["2", "7"]
    assert len(first["zero_shot"]["unseen"]) == 3
    assert first["plan"]["network"] == "trained for 3 steps on seen classes"


def test_a_table_of_ones_own(tmp_path):
    rows = ["digit,loops,open,name"] + [f"{d},{int(d in (0, 6, 8, 9))},{int(d not in (0, 8))},x" for d in range(10)]
    (tmp_path / "table.csv").write_text("\n".join(rows).replace(",x", ",").replace(",name", ",extra"))
    done = run(
        "zero_shot.py", *FAST, "--dataset", "digits", "--attributes", tmp_path / "table.csv", "--class_column", "digit",
        "--output_dir", tmp_path / "run", ok=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "'extra'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "report.json").exists()


def test_a_network_with_a_text_tower_needs_no_table(tmp_path):
    network = save("clip", tmp_path / "clip")
    flags = ["--model_name_or_path", network, "--dataset", "digits", "--splits", "2", "--train_size", "200"]
    flags += ["--use_cpu", "--cache_dir", tmp_path / "cache"]
    done = run("zero_shot.py", *flags, "--method", "joint", "--output_dir", tmp_path / "names")
    assert "* joint on prompts" in done.stdout
    report = json.loads((tmp_path / "names" / "report.json").read_text())
    assert "Prompts of the text tower: a photo of a {}.; a photo of the {}." in " ".join(report["notes"])
    assert "Their names alone" in (tmp_path / "names" / "report.html").read_text()
    assert "embeddings of prompts" in (tmp_path / "names" / "README.md").read_text()
    usage = re.search(r"```python\n(.*?)```", (tmp_path / "names" / "README.md").read_text(), re.DOTALL)[1]
    load_data("digits").test[0]["image"].save(tmp_path / "names" / "photo.jpg")
    asked = processes.run(["-c", usage], cwd=tmp_path / "names")
    assert asked.stdout.splitlines()[0] in report["zero_shot"]["classes"], asked.stderr
    done = run(
        "zero_shot.py", *flags, "--method", "eszsl", "joint", "joint_mix", "--attributes", "digit_strokes",
        "--templates", "a {}.", "the photo of {}.", "--output_dir", tmp_path / "mixed",
    )  # fmt: skip
    names = [
        result["method"]
        for result in json.loads((tmp_path / "mixed" / "report.json").read_text())["zero_shot"]["results"]
    ]
    assert names == ["eszsl", "eszsl", "joint", "joint_mix"]
    assert "attributes read rightly 100.0 %" in done.stdout
    for wrong, message in ((["--templates", "a photo"], "has no {}"), (["--method", "joint_mix"], "there are none")):
        refused = run("zero_shot.py", *flags, *wrong, "--output_dir", tmp_path / "no", ok=False)
        assert refused.returncode == 2, refused.stderr
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "magic"], "--methods magic is unknown"),
        (["--dataset", "digits"], "--attributes is missing"),
        (["--unseen", "eleven", "2"], "eleven is no class"),
        (["--unseen_count", "9"], "at least 4 seen classes"),
        (
            ["--method", "joint"],
            "joint compares pictures or sounds with prompts for a text tower, and dann_mnist has none",
        ),
        (["--templates", "a {}"], "--templates are prompts for a text tower"),
        (["--train_network", "2", "--train_method", "magic"], "--train_method magic is unknown"),
    ],
)
def test_what_does_not_fit_ends_in_a_sentence(flags, message, tmp_path):
    done = run("zero_shot.py", "--splits", "1", "--use_cpu", *flags, "--output_dir", tmp_path / "run", ok=False)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
