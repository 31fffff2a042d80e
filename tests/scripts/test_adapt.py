"""scripts/adapt.py as a user runs it."""

import json

import datasets
import numpy as np
import pytest
import tiny
from PIL import Image
from scripts.test_scripts import network, run  # noqa: F401  (network is a fixture)
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

import hf_transfer_kit.backbones.dann_mnist  # noqa: F401 - registers the class
from hf_transfer_kit.commands.adapt import usual_method
from hf_transfer_kit.selection.adapting import make_method

FAST = ["--max_steps", "4", "--evaluations", "2", "--per_device_train_batch_size", "8", "--use_cpu"]


def test_the_embedded_example_leaves_a_report_and_an_ordinary_classifier(tmp_path):
    done = run("adapt.py", *FAST, "--evaluations", "1", "--output_dir", tmp_path, "--seeds", "0", "1")
    report = json.loads((tmp_path / "report.json").read_text())
    results = {result["method"]: result for result in report["adaptation"]["results"]}
    assert list(results) == ["source_only", "adamatch:source_weight=1", "target_supervised"]
    for result in results.values():
        assert result["seeds"] == [0, 1]
        assert len(result["test_by_seed"]) == 2
        assert f"{result['method']}" in done.stdout
    assert report["adaptation"]["chosen"] in list(results)[:2]
    page = (tmp_path / "report.html").read_text()
    assert "digits_m" in page
    assert "adamatch:source_weight=1" in page
    classifier = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert type(classifier).__name__ == "DannMnistForImageClassification"
    assert not [name for name in classifier.state_dict() if "source_" in name]
    assert AutoImageProcessor.from_pretrained(tmp_path).size == {"height": 28, "width": 28}
    said = pipeline("image-classification", model=str(tmp_path))(Image.new("RGB", (32, 32)))
    assert {answer["label"] for answer in said} <= {str(digit) for digit in range(10)}
    again = run("adapt.py", *FAST, "--output_dir", tmp_path, ok=False)
    assert again.returncode == 2
    assert "holds a report already" in again.stderr


def test_config_gives_the_same_run_again(tmp_path):
    flags = ["--method", "dann:view=1", "--baselines", "false", *FAST]
    run("adapt.py", *flags, "--output_dir", tmp_path / "first", cold=True)
    run("adapt.py", "--config", tmp_path / "first" / "config.yaml", "--output_dir", tmp_path / "second")
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "second"))
    assert first["metrics"] == second["metrics"]
    for report in (first, second):
        (result,) = report["adaptation"]["results"]
        assert result["method"] == "dann:view=1"
    assert first["adaptation"]["results"][0]["scores"] == second["adaptation"]["results"][0]["scores"]


def test_a_run_goes_on_until_its_time_is_over_and_says_so(tmp_path):
    flags = ["--source", "digits", "--target", "digits_m", "--method", "dann", "--baselines", "false", "--use_cpu"]
    done = run("adapt.py", *flags, "--max_minutes", "0.05", "--output_dir", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    (result,) = report["adaptation"]["results"]
    (steps,) = result["steps"]
    assert result["ended"] == ["minutes"]
    assert 1 <= steps < report["budget"]["steps"]
    said = f"dann was still rising when it was cut after {steps:,} steps, its 0.05 minutes over: try --max_minutes 0.1."
    assert said in done.stdout
    assert said in report["notes"]
    assert said in (tmp_path / "report.html").read_text()
    (figures,) = [run for run in report["runs"] if run["candidate"] == "dann"]
    assert figures["steps"] == steps


def test_steps_that_were_typed_are_done_to_the_last(tmp_path):
    flags = ["--source", "digits", "--target", "digits_m", "--baselines", "false", *FAST]
    done = run("adapt.py", *flags, "--method", "dann", "--output_dir", tmp_path)
    (result,) = json.loads((tmp_path / "report.json").read_text())["adaptation"]["results"]
    assert (result["steps"], result["ended"]) == ([4], ["steps"])
    assert "dann ended" not in done.stdout
    assert "rising" not in done.stdout


def test_a_target_without_labels_gets_scores_and_no_accuracy(network, tmp_path):  # noqa: F811
    """Pictures in one folder a class, and a target that is pictures alone."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "source" / name).mkdir(parents=True)
        for row in range(12):
            pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "source" / name / f"{row}.png")
    pictures = [Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(20)]
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": pictures}, features=features).to_parquet(tmp_path / "target.parquet")
    flags = ["--source", tmp_path / "source", "--target", tmp_path / "target.parquet", "--model_name_or_path", network]
    out = tmp_path / "out"
    done = run("adapt.py", *flags, "--method", "mcc", "shallow:alignment=coral", *FAST, "--output_dir", out)
    report = json.loads((out / "report.json").read_text())
    assert report["metrics"] == {}
    assert report["adaptation"]["agreements"] == []
    assert [r["method"] for r in report["adaptation"]["results"]] == ["source_only", "mcc", "shallow:alignment=coral"]
    assert all(result["test"] == {} for result in report["adaptation"]["results"])
    assert "target_supervised" not in done.stdout
    assert "no labels" in (out / "report.html").read_text()


def test_domains_of_one_dataset_are_told_apart_by_a_column(tmp_path):
    model, _ = tiny.TRANSFORMERS["bert"]()
    folder = tmp_path / "bert"
    model.save_pretrained(folder)
    tiny_tokenizer(folder)
    rows = {
        "text": [f"{'good' if row % 2 else 'bad'} word {row}" for row in range(80)],
        "label": [row % 2 for row in range(80)],
        "shop": ["books" if row < 40 else "kitchen" for row in range(80)],
    }
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "train.parquet")
    data = tmp_path / "train.parquet"
    flags = ["--model_name_or_path", folder, "--source", data, "--target", data, "--method", "dann", *FAST]
    done = run(
        "adapt.py",
        *flags,
        "--source_rows",
        "shop=books",
        "--target_rows",
        "shop=kitchen",
        "--output_dir",
        tmp_path / "o",
    )
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert sum(report["data"]["sizes"].values()) == sum(report["data"]["source"]["sizes"].values()) == 40
    assert "The report is" in done.stdout


def tiny_tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "word", *map(str, range(20))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--source", "digits"], "--source and --target belong together"),
        (["--method", "dan"], "There is no method 'dan'"),
        (["--method", "dann:strength=2"], "strength is no option of dann"),
        (["--source", "{tmp}/nowhere", "--target", "digits"], "There is no dataset at"),
        (["--source", "digits", "--target", "{tmp}/cats.parquet"], "classes"),
        (["--source", "digits", "--target", "digits_m", "--target_rows", "shop"], "write column=value"),
        (["--select", "luck"], "--select luck is unknown"),
    ],
)
def test_bad_input_gets_a_sentence_and_leaves_nothing(tmp_path, flags, message):
    pictures = [Image.new("RGB", (8, 8), (row, 0, 0)) for row in range(20)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": pictures, "label": [row % 2 for row in range(20)]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "cats.parquet")
    given = [flag.format(tmp=tmp_path) for flag in flags]
    done = run("adapt.py", *given, *FAST, "--output_dir", tmp_path / "out", ok=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "report.json").exists()


def test_two_processes_give_one_report(tmp_path):
    flags = ["--method", "adamatch", "--baselines", "false", "--ddp_backend", "gloo", *FAST]
    done = run("adapt.py", *flags, "--output_dir", tmp_path, ranks=2)
    assert done.stdout.count("The report is") == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["budget"]["batch_size"] == 16


def test_two_processes_end_a_run_at_the_same_step_by_one_clock(tmp_path):
    flags = ["--source", "digits", "--target", "digits_m", "--method", "dann", "--baselines", "false"]
    flags += ["--ddp_backend", "gloo", "--use_cpu", "--max_minutes", "0.1", "--output_dir", tmp_path]
    done = run("adapt.py", *flags, ranks=2)
    (result,) = json.loads((tmp_path / "report.json").read_text())["adaptation"]["results"]
    assert result["ended"] == ["minutes"]
    assert done.stdout.count("dann was still rising when it was cut after") == 1


@pytest.mark.parametrize(
    ("pretrained", "modality", "method"),
    [
        (False, "image", "adamatch:source_weight=1"),
        (False, "audio", "adamatch:source_weight=1"),
        (True, "image", "clusters"),
        (True, "text", "mcc"),
        (True, "audio", "mcc"),
    ],
)
def test_the_usual_method_goes_by_weights_and_by_what_is_read(pretrained, modality, method):
    assert usual_method(pretrained, modality) == method
    assert make_method(method).text == method
