"""The scripts as a user runs them, in a process of their own; each once in a Python of its own (``cold``)."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import joint_networks
import numpy as np
import processes
import pytest
import soundfile
import tiny
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from spoken_rows import RATE, SYMBOLS, extractor, speller, spoken

from hf_transfer_kit import load_data, prepare_data, replace_head
from hf_transfer_kit.data import raw_rows
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.hub import check_saved

ROOT = Path(__file__).resolve().parents[2]
FAST = ["--max_steps", "4", "--evaluations", "2", "--per_device_train_batch_size", "16"]


def run(script: str, *flags: object, ok: bool = True, **how):
    """The finished script; ``how`` as in ``processes.run``."""
    done = processes.run([ROOT / "scripts" / script, *flags], **{"cwd": ROOT, "timeout": 600, **how})
    if ok:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A tiny checkpoint with its processor."""
    from transformers import ViTImageProcessor

    folder = tmp_path_factory.mktemp("network")
    torch.manual_seed(0)  # whatever ran before: figures hang on its weights
    model, _ = tiny.TRANSFORMERS["resnet"]()
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def raced(network, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raced")
    flags = ["--model_name_or_path", network, "--dataset", "digits_m", "--train_size", "50", "--output_dir", folder]
    run("transfer.py", *flags, "--seeds", "0", "1", *FAST)
    return folder


def strategies_of_the_guide() -> list[str]:
    text = (ROOT / "scripts" / "guides" / "finetune.md").read_text()
    table = text[text.index("| strategy |") :].split("\n\n")[0]
    return [written for row in table.splitlines()[2:] for written in re.findall(r"`([^`]*)`", row.split("|")[1])]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A few pictures of two classes, whose names a text tower knows."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for row in range(60):
        path = folder / "38"[row % 2] / f"{row}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 200, (16, 16, 3), np.uint8)).save(path)
    return folder


@pytest.mark.parametrize("written", strategies_of_the_guide())
def test_every_strategy_runs_as_the_guide_writes_it(written, pictures, network, tmp_path):
    if written.startswith("text_head"):  # it begins with class names through a text tower
        network = joint_networks.save("clip", tmp_path / "clip")
    flags = ["--model_name_or_path", network, "--dataset", pictures, "--output_dir", tmp_path]
    run("finetune.py", "--strategy", written, *flags, "--max_steps", "2", "--per_device_train_batch_size", "8")
    (result,) = json.loads((tmp_path / "report.json").read_text())["results"]
    assert result["strategy"].split(":")[0] == written.split(":")[0]


def test_a_race_leaves_everything_that_was_promised(raced):
    names = {path.name for path in raced.iterdir()}
    assert {"report.json", "report.html", "README.md", "config.yaml", "model.safetensors", "config.json"} <= names
    assert not [name for name in names if name.startswith(".")]
    report = json.loads((raced / "report.json").read_text())
    assert [result["strategy"] for result in report["results"]] == [
        "head_only",
        "freeze_first",
        "small_lr",
        "full",
        "from_scratch",
    ]
    assert report["data"]["sizes"] == {"train": 50, "validation": 134, "test": 271}
    assert all(result["seeds"] == [0, 1] for result in report["results"])
    assert report["verdict"]["low"] <= report["verdict"]["difference"] <= report["verdict"]["high"]
    assert sum(map(sum, report["confusion"]["counts"])) == 271
    best = max(report["results"], key=lambda r: (r["validation"]["accuracy"], -r["validation"]["loss"]))
    assert report["winner"] == best["strategy"]
    shares = {r["strategy"]: r["trainable_parameters"] / r["total_parameters"] for r in report["results"]}
    assert shares["head_only"] < shares["freeze_first"] < shares["full"] == 1


def test_the_saved_winner_gives_the_reported_predictions_in_a_new_process(raced):
    report = json.loads((raced / "report.json").read_text())
    code = f"""
import numpy as np, torch
from transformers import AutoImageProcessor, AutoModelForImageClassification
from hf_transfer_kit import load_data
model = AutoModelForImageClassification.from_pretrained({str(raced)!r})
processor = AutoImageProcessor.from_pretrained({str(raced)!r})
test = load_data("digits_m", train_size=50).test
with torch.no_grad():
    logits = model(**processor([image.convert("RGB") for image in test["image"]], return_tensors="pt")).logits
print((logits.argmax(-1).numpy() == np.asarray(test["label"])).mean())
"""
    done = processes.run(["-c", code], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(report["metrics"]["accuracy"], abs=1e-6)


def test_no_local_path_is_in_what_is_shared(raced):
    for name in ("README.md", "report.html", "report.json", "config.yaml", "config.json"):
        text = (raced / name).read_text()
        assert str(raced) not in text, name
        assert str(Path.home()) + "/" not in text, name


def test_the_settings_run_again_and_flags_win(raced, tmp_path):
    config = yaml.safe_load((raced / "config.yaml").read_text())
    assert (config["seeds"], config["max_steps"], config["train_size"]) == ([0, 1], 4, "50")
    run("transfer.py", "--config", raced / "config.yaml", "--strategies", "head_only", "--output_dir", tmp_path)
    again = json.loads((tmp_path / "report.json").read_text())
    assert [result["strategy"] for result in again["results"]] == ["head_only"]
    assert again["verdict"] is None
    first = json.loads((raced / "report.json").read_text())["results"][0]
    assert again["results"][0]["test"] == first["test"]


@pytest.mark.parametrize("strategy", ["freeze_first:k=2", "wise_ft:head=probe"])
def test_finetune_writes_a_report_and_resumes(strategy, network, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", "digits", "--train_size", "48"]
    flags += ["--strategy", strategy]
    saving = ["--save_strategy", "steps", "--save_steps", "2"]
    run("finetune.py", *flags, *saving, *FAST, "--output_dir", tmp_path / "whole")
    resumed = shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    (resumed / "model.safetensors").unlink()
    if "probe" in strategy:  # a resumed run holds to the head that was solved then, not to one that it solves anew
        path = resumed / "checkpoint-2" / "solved_head.safetensors"
        assert load_file(path)["weight"].shape == (10, 16)
    again = ["--overwrite_output_dir", "--resume_from_checkpoint", resumed / "checkpoint-2"]
    run("finetune.py", *flags, *FAST, "--output_dir", resumed, *again, cold=True)
    first, second = (load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert json.loads((resumed / "report.json").read_text())["recipe"] == "finetune"


def test_a_depth_is_searched_for_and_finetune_runs_what_was_found(network, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", "digits_m", "--train_size", "50", *FAST]
    searched = tmp_path / "searched"
    own = ["--seeds", "0", "--cache_dir", tmp_path / "cache", "--output_dir", searched]
    run("search_depth.py", *flags, *own, cold=True)
    names = {path.name for path in searched.iterdir()}
    assert names >= {"depth.json", "depth.svg", "finetune.yaml", "config.yaml", "report.json", "report.html"}
    search = json.loads((searched / "depth.json").read_text())
    assert [result["depth"] for result in search["results"]] == [0, 1, 2, 3]
    assert [result["cached"] for result in search["results"]] == [False, True, True, True]
    plan = yaml.safe_load((searched / "finetune.yaml").read_text())
    assert (plan["strategy"], plan["max_steps"]) == (search["strategy"], 4)
    assert json.loads((searched / "report.json").read_text())["depth_searches"] == [search]
    run("finetune.py", "--config", searched / "finetune.yaml", "--output_dir", tmp_path / "tuned")
    assert json.loads((tmp_path / "tuned" / "report.json").read_text())["winner"] == search["strategy"]


def test_finetune_finds_a_depth_of_its_own(network, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TRANSFER_KIT_CACHE", str(tmp_path / "cache"))
    flags = ["--model_name_or_path", network, "--dataset", "digits_m", "--train_size", "50", "--output_dir", tmp_path]
    done = run("finetune.py", *flags, "--strategy", "freeze_first:auto", *FAST)
    report = json.loads((tmp_path / "report.json").read_text())
    (search,) = report["depth_searches"]
    assert report["winner"] == search["strategy"]
    assert search["sentence"] in done.stdout
    assert "How many layers to freeze" in (tmp_path / "report.html").read_text()


def test_two_processes_give_one_report(network, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", "digits_m", "--train_size", "50", "--output_dir", tmp_path]
    flags += ["--strategies", "head_only", "from_scratch", "--use_cpu", "--ddp_backend", "gloo", *FAST]
    done = run("transfer.py", *flags, ranks=2, cold=True)
    assert done.stdout.count("The report is") == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert sum(map(sum, report["confusion"]["counts"])) == 271
    assert report["budget"]["batch_size"] == 32


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model_name_or_path", "{tmp}/nowhere", "--dataset", "digits"], "the path does not exist"),
        (["--dataset", "{tmp}/nowhere"], "There is no dataset at"),
        (["--dataset", "digits", "--train_size", "9999"], "asks for more rows than there are"),
        (["--dataset", "digits", "--train_size", "many"], "neither a number of rows nor a share"),
        (["--dataset", "digits", "--strategies", "freeze_first:k=99"], "k=99 is out of range: this model has 3"),
        (["--dataset", "digits", "--strategies", "freeze_all"], "There is no strategy 'freeze_all'"),
        (["--dataset", "{tmp}/pictures"], "Row 7 of train cannot be read"),
        (["--config", "{tmp}/wrong.yaml"], "names no flag has: datset"),
        (["--config", "{tmp}/none.yaml"], "there is no such file"),
    ],
)
def test_bad_input_gets_a_sentence_and_leaves_nothing(network, tmp_path, flags, message):
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / "train" / name).mkdir(parents=True)
        for row in range(10):
            Image.fromarray(np.full((8, 8, 3), row, np.uint8)).save(
                tmp_path / "pictures" / "train" / name / f"{row}.png"
            )
    (tmp_path / "pictures" / "train" / "cat" / "7.png").write_bytes(b"no picture")
    (tmp_path / "wrong.yaml").write_text("datset: digits\n")
    given = [flag.format(tmp=tmp_path) for flag in flags]
    if "--model_name_or_path" not in given:
        given += ["--model_name_or_path", str(network)]
    done = run("transfer.py", *given, "--output_dir", tmp_path / "out", ok=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "seed 0" not in done.stdout
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_report_is_not_overwritten_by_accident(raced, network):
    done = run("transfer.py", "--model_name_or_path", network, "--dataset", "digits", "--output_dir", raced, ok=False)
    assert done.returncode == 2
    assert "--overwrite_output_dir" in done.stderr


def test_another_source_is_judged_beside_and_both_have_a_part_in_the_report(network, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", "digits_m", "--train_size", "50", "--output_dir", tmp_path]
    flags += ["--strategies", "head_only", "from_scratch", "--other_sources", "small_resnet"]
    done = run("transfer.py", *flags, *FAST)
    report = json.loads((tmp_path / "report.json").read_text())
    (other,) = report["other_sources"]
    assert (other["source"], other["result"]["strategy"]) == ("small_resnet", "head_only")
    winner = next(result for result in report["results"] if result["strategy"] == report["winner"])
    difference = winner["test"]["accuracy"] - other["result"]["test"]["accuracy"]
    assert other["verdict"]["difference"] == pytest.approx(difference)
    sentence = other["verdict"]["sentence"]
    assert sentence in done.stdout
    assert sentence in (tmp_path / "README.md").read_text()
    assert sentence in (tmp_path / "report.html").read_text()
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["other_sources"] == ["small_resnet"]


def test_a_source_that_cannot_run_is_told_before_anything_trains(network, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", "digits_m", "--output_dir", tmp_path, *FAST]
    twice = run("transfer.py", *flags, "--other_sources", network, ok=False)
    assert twice.returncode == 2
    assert "a network is named twice" in twice.stderr
    absent = run("transfer.py", *flags, "--other_sources", "no/such-network", ok=False)
    assert absent.returncode == 2
    assert "no/such-network" in absent.stderr
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--dataset", "digits_m", "--image_size", "24"],
        ["--dataset", "digits_m", "--image_size", "48", "--strategy", "lora"],
        ["--dataset", "digits", "--strategy", "head_only", "--save_dtype", "float16"],
    ],
)
def test_the_saved_model_is_the_measured_one_on_raw_pictures(flags, network, tmp_path):
    from transformers import pipeline

    run("finetune.py", "--model_name_or_path", network, "--output_dir", tmp_path, "--train_size", "50", *flags, *FAST)
    rows = load_data(flags[1]).test
    classifier = pipeline("image-classification", model=str(tmp_path), device="cpu")
    answers = classifier([row["image"] for row in rows], top_k=1)
    names = rows.features["label"].names
    right = [names[row["label"]] == answer[0]["label"] for row, answer in zip(rows, answers, strict=True)]
    (result,) = json.loads((tmp_path / "report.json").read_text())["results"]
    assert np.mean(right) == pytest.approx(result["test"]["accuracy"], abs=1e-9)


@pytest.mark.parametrize("side", [None, 24])
def test_the_saved_model_is_the_measured_one_on_raw_sounds(side, network, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    draw = np.random.default_rng(0)
    for row in range(60):
        path = tmp_path / "sounds" / ("low", "high")[row % 2] / f"{row}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        times = np.arange(1500 + 40 * row) / 8000
        wave = np.sin(2 * np.pi * (300, 1500)[row % 2] * times) + draw.normal(0, 0.5, len(times))
        soundfile.write(path, 0.3 * wave, 8000)
    flags = ["--model_name_or_path", network, "--dataset", tmp_path / "sounds", "--output_dir", tmp_path / "out"]
    flags += [] if side is None else ["--image_size", str(side), "--max_seconds", "0.3"]
    run("finetune.py", *flags, "--strategy", "head_only", "--max_steps", "3")
    usage = re.search(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)[1]
    test = load_data(tmp_path / "sounds").test
    names, right = test.features["label"].names, []
    for path, label in zip(raw_rows(load_data(tmp_path / "sounds"), "test"), test["label"], strict=True):
        (tmp_path / "out" / "speech.wav").write_bytes(path["bytes"] or Path(path["path"]).read_bytes())
        with contextlib.chdir(tmp_path / "out"), contextlib.redirect_stdout(io.StringIO()) as said:
            exec(usage, {})
        right.append(said.getvalue().strip() == names[label])
    (result,) = json.loads((tmp_path / "out" / "report.json").read_text())["results"]
    assert np.mean(right) == pytest.approx(result["test"]["accuracy"], abs=1e-9)


def test_a_saved_model_that_would_predict_otherwise_is_an_error(network, tmp_path):
    from transformers import AutoModelForImageClassification, ViTImageProcessor

    loaded = load_data("digits", train_size=50)
    measured = prepare_data(loaded, ViTImageProcessor(size={"height": 32, "width": 32}))
    model = AutoModelForImageClassification.from_pretrained(network).eval()
    model.config.id2label = dict(enumerate(loaded.label_names))
    replace_head(model, 10, id2label=model.config.id2label, seed=0)
    model.save_pretrained(tmp_path)
    measured.processor.save_pretrained(tmp_path)
    assert check_saved(tmp_path, model, loaded, measured) == 32
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="loaded as its card says, differs from the measured one in"):
        check_saved(tmp_path, model, loaded, measured)


@pytest.fixture(scope="module")
def imbalanced(tmp_path_factory) -> Path:
    """Pictures of which 1 in 20 is bright."""
    folder = tmp_path_factory.mktemp("imbalanced")
    draw = np.random.default_rng(0)
    for split, rows in (("train", 160), ("test", 80)):
        for row in range(rows):
            name = "rare" if row % 20 == 0 else "usual"
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 150, (16, 16, 3)) + (100 if name == "rare" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{row}.png")
    return folder


def test_the_majority_class_alone_is_told(imbalanced, network, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", imbalanced, "--output_dir", tmp_path]
    run("finetune.py", *flags, "--strategy", "head_only:head=random", *FAST)
    notes = " ".join(json.loads((tmp_path / "report.json").read_text())["notes"])
    assert "The class 'usual', given to every test row, would be right in 95.0 % of them" in notes


@pytest.mark.parametrize(
    "how", [["--class_weights", "balanced"], ["--class_weights", "rare=19"], ["--sampler", "balanced"]]
)
def test_rare_classes_can_be_made_to_count(how, imbalanced, network, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", imbalanced, "--strategies", "full", "head_only"]
    flags += ["--output_dir", tmp_path, "--max_steps", "60", "--evaluations", "1", "--batch_size", "16"]
    flags += ["--learning_rate", "0.01", "--augment", "false"]
    run("transfer.py", *flags, *how, "--metric", "balanced_accuracy")
    report = json.loads((tmp_path / "report.json").read_text())
    reached = {result["strategy"]: result["validation"]["balanced_accuracy"] for result in report["results"]}
    assert reached[report["winner"]] == max(reached.values())
    assert report["metrics"]["balanced_accuracy"] > 0.5
    assert "models are chosen by balanced_accuracy" in " ".join(report["notes"])


def test_flags_of_balance_are_checked_before_anything_runs(tmp_path):
    done = run("finetune.py", "--output_dir", tmp_path, "--class_weights", "rare", ok=False)
    assert done.returncode == 2
    assert "--class_weights rare: write balanced, or class=weight" in done.stderr


def test_a_folder_of_sounds_and_their_texts_is_learned_to_spell(tmp_path):
    """The column of texts is found by its name; what is saved has the symbols."""
    data, folder = tmp_path / "data", tmp_path / "net"
    data.mkdir()
    waves, labels = spoken(40, 0)
    lines = ["file_name,transcription"]
    for place, (wave, symbols) in enumerate(zip(waves, labels, strict=True)):
        soundfile.write(data / f"{place}.wav", wave, RATE)
        lines.append(f"{place}.wav,{''.join(SYMBOLS[symbol] for symbol in symbols)}")
    (data / "metadata.csv").write_text("\n".join(lines) + "\n")
    speller(0).save_pretrained(folder)
    extractor().save_pretrained(folder)
    flags = ["--task_type", "ctc", "--model_name_or_path", folder, "--dataset", data, "--output_dir", tmp_path / "out"]
    done = run("transfer.py", *flags, "--strategies", "full", "from_scratch", "--metric", "word_error_rate", *FAST)
    assert "(word error rate)" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["data"]["classes"] == list(SYMBOLS)
    assert report["results"][0]["metric"] == "word_error_rate"
    assert set(json.loads((tmp_path / "out" / "vocab.json").read_text())) == set(SYMBOLS)
