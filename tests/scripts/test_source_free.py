"""scripts/adapt.py --source_model: a trained network and a target, without a row of its source."""

import json

import pytest
import torch
import yaml
from scripts.test_scripts import run
from transformers import AutoModelForImageClassification

from hf_transfer_kit import load_data
from hf_transfer_kit.selection import fresh_network, fresh_processor

FAST = ["--max_steps", "2", "--evaluations", "1", "--per_device_train_batch_size", "16", "--use_cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source_model")
    fresh_network("dann_mnist", load_data("digits").label_names, seed=0).save_pretrained(folder)
    fresh_processor("dann_mnist").save_pretrained(folder)
    return folder


def test_a_trained_network_is_adapted_without_its_source(trained, tmp_path):
    flags = ["--source_model", trained, "--target", "digits_m", "--method", "shot:view=1", "self_training"]
    done = run("adapt.py", *flags, *FAST, "--seeds", "0", "1", "--output_dir", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    results = {result["method"]: result for result in report["adaptation"]["results"]}
    assert list(results) == ["source_model", "adabn", "shot:view=1", "self_training"]
    assert all(result["source_accuracy"] is None for result in results.values())
    assert [len(result["seeds"]) for result in results.values()] == [1, 1, 2, 2]
    assert {"source_accuracy", "dev", "proxy_a"} & set(results["adabn"]["scores"]) == set()
    best = max(results.values(), key=lambda result: result["scores"]["bnm"])
    assert report["winner"] == best["method"]
    assert "No row of the source was at hand" in " ".join(report["notes"])
    page, card = (tmp_path / "report.html").read_text(), (tmp_path / "README.md").read_text()
    assert "adapted without rows of its source to the target" in card
    assert "with labels:" not in card
    assert "shot:view=1" in page
    assert "The report is" in done.stdout
    model = AutoModelForImageClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        assert model(pixel_values=torch.randn(1, 3, 28, 28)).logits.shape == (1, 10)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    again = run("adapt.py", "--config", tmp_path / "config.yaml", "--output_dir", tmp_path / "again")
    second = json.loads((tmp_path / "again" / "report.json").read_text())
    assert config["source_model"]
    assert second["metrics"] == report["metrics"]
    assert again.returncode == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--source", "digits"], "--source_model stands in place of --source and --model_name_or_path"),
        (["--model_name_or_path", "dann_mnist"], "--source_model stands in place of --source"),
        (["--method", "dann"], "'dann' is no method without source rows; choose from source_model, adabn, tent, shot"),
        (["--method", "shot:weigth=2"], "weigth is no option of shot"),
        (["--select", "dev"], "select='dev' does not choose without source rows"),
        (["--class_weights", "balanced"], "weigh source rows, of which --source_model has none"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_trains(flags, words, trained, tmp_path):
    given = ["--source_model", trained, "--target", "digits_m", "--output_dir", tmp_path / "out", *FAST, *flags]
    done = run("adapt.py", *given, ok=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "out" / "report.json").exists()
