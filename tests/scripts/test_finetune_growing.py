"""finetune.py --old_classes kept, in processes of its own: old rows stay, forgetting is told, what does not fit too."""

import json
from pathlib import Path

import numpy as np
import processes
import pytest
import tiny
import torch
import transformers as tf
import yaml
from datasets import ClassLabel, Dataset, DatasetDict
from hub.sharing_cases import image_processor, tokenizer
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, ResNetConfig, ResNetForImageClassification, pipeline

from hf_transfer_kit import load_data, replace_head
from hf_transfer_kit.backbones import TorchvisionConfig, TorchvisionForImageClassification
from hf_transfer_kit.data.embedded import embedded_data

ROOT = Path(__file__).resolve().parents[2]
STEPS = ["--max_steps", "4", "--evaluations", "2", "--per_device_train_batch_size", "16"]
OLD, NEW = ("six", "two", "four"), ("one", "nine")
NUMBERS = {"six": 6, "two": 2, "four": 4, "one": 1, "nine": 9}


def classifier(names, folder):
    """A tiny network of these classes, with its processor."""
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 2],
        layer_type="basic",
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    ResNetForImageClassification(config).save_pretrained(folder)
    image_processor().save_pretrained(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A network of three digits; ``new`` shows two further ones and one that it knows, ``old`` its own."""
    folder = tmp_path_factory.mktemp("growing")
    classifier(OLD, folder / "network")
    classifier(["LABEL_0", "LABEL_1"], folder / "nameless")
    tiny.TRANSFORMERS["resnet"]()[0].resnet.save_pretrained(folder / "headless")
    for name, classes in (("old", sorted(OLD)), ("new", ["one", "nine", "two"]), ("wrong", ["six", "one"])):
        splits = {}
        for split, rows in embedded_data("digits").items():
            places = np.concatenate([np.flatnonzero(np.array(rows["label"]) == NUMBERS[c])[:40] for c in classes])
            labels = [classes.index(next(c for c in classes if NUMBERS[c] == rows["label"][p])) for p in places]
            chosen = rows.select(places).remove_columns("label")
            splits[split] = chosen.add_column("label", labels, feature=ClassLabel(names=classes))
        DatasetDict(splits).save_to_disk(folder / name)
    return folder


def finetune(place, output, *flags, ok=True, **how):
    words = ["--model_name_or_path", place / "network", "--dataset", place / "new", "--output_dir", output, *STEPS]
    words += ["--old_classes", "kept", *flags]
    done = processes.run([ROOT / "scripts" / "finetune.py", *words], cwd=ROOT, timeout=600, **how)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def replayed(place, tmp_path_factory):
    """A run with replay, and what it printed."""
    output = tmp_path_factory.mktemp("replayed")
    return output, finetune(place, output, "--replay", place / "old", "--replay_rows", "5").stdout


def test_the_report_tells_old_and_new_classes_before_and_after(place, replayed):
    output, printed = replayed
    report = json.loads((output / "report.json").read_text())
    growing = report["growing"]
    assert (tuple(growing["old_classes"]), tuple(growing["new_classes"])) == (OLD, NEW)
    assert growing["replayed"] == dict.fromkeys(OLD, 5)
    saved = pipeline("image-classification", model=str(output), device="cpu")
    came = pipeline("image-classification", model=str(place / "network"), device="cpu")
    right = {}
    for name in ("old", "new"):
        test = load_data(place / name).test
        names = [test.features["label"].names[label] for label in test["label"]]
        for what, network in (("before", came), ("after", saved)):
            said = [answer[0]["label"] for answer in network(list(test["image"]), top_k=1)]
            right[name, what] = np.array([said[row] == names[row] for row in range(len(names))])
            right[name] = np.array([name in OLD for name in names])
    old = {what: [*right["old", what], *right["new", what][right["new"]]] for what in ("before", "after")}
    assert growing["before"] == pytest.approx(np.mean(old["before"]))
    assert growing["after"] == pytest.approx(np.mean(old["after"]))
    assert growing["forgetting"] == pytest.approx(growing["before"] - growing["after"])
    assert growing["new"] == pytest.approx(np.mean(right["new", "after"][~right["new"]]))
    assert growing["overall"] == pytest.approx(report["metrics"]["accuracy"])
    assert growing["old_rows"] == len(old["before"])
    assert report["data"]["replay"]["sizes"]["train"] == 15
    assert report["confusion"]["labels"] == [*OLD, *NEW]
    assert sum(map(sum, report["confusion"]["counts"])) == growing["old_rows"] + growing["new_rows"]
    for text in (printed, (output / "report.html").read_text(), (output / "README.md").read_text()):
        assert f"Old classes: {100 * growing['before']:.1f} % before, among 3" in text
    assert "replay of 15 rows of old" in (output / "README.md").read_text()
    config = yaml.safe_load((output / "config.yaml").read_text())
    assert (config["old_classes"], config["replay_rows"]) == ("kept", 5)


def test_old_rows_of_the_head_begin_as_they_were(place, tmp_path):
    finetune(place, tmp_path, "--learning_rate", "1e-30", "--lwf", "0")
    before, after = (load_file(folder / "model.safetensors") for folder in (place / "network", tmp_path))
    assert torch.equal(after["classifier.1.weight"][:3], before["classifier.1.weight"])
    assert torch.equal(after["classifier.1.bias"][:3], before["classifier.1.bias"])
    assert len(after["classifier.1.bias"]) == 5
    model = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert [model.config.id2label[index] for index in range(5)] == [*OLD, *NEW]


def test_without_old_test_rows_forgetting_is_not_measured(place, tmp_path):
    data = load_data(place / "new")
    few = {s: getattr(data, s).filter(lambda label: label < 2, input_columns="label") for s in ("train", "test")}
    feature = ClassLabel(names=["one", "nine"])
    DatasetDict({s: rows.cast_column("label", feature) for s, rows in few.items()}).save_to_disk(tmp_path / "data")
    done = finetune(place, tmp_path / "out", "--dataset", tmp_path / "data")
    growing = json.loads((tmp_path / "out" / "report.json").read_text())["growing"]
    assert (growing["before"], growing["after"], growing["old_rows"]) == (None, None, 0)
    assert "Forgetting was not measured: no test row of an old class was at hand." in done.stdout


def test_a_resumed_run_equals_an_uninterrupted_one(place, tmp_path):
    flags = ["--replay", place / "old", "--save_strategy", "steps", "--save_steps", "2"]
    finetune(place, tmp_path / "whole", *flags)
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    finetune(place, tmp_path / "resumed", *flags, "--resume_from_checkpoint", checkpoint)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    reports = [json.loads((tmp_path / name / "report.json").read_text())["growing"] for name in ("whole", "resumed")]
    assert reports[0] == reports[1]


def test_two_ranks_train_one_network(place, tmp_path):
    flags = ["--replay", place / "old", "--use_cpu"]
    flags += ["--per_device_train_batch_size", "8"]
    finetune(place, tmp_path / "two", *flags, ranks=2)
    finetune(place, tmp_path / "one", *flags[:-1], "16")
    first, second = (json.loads((tmp_path / n / "report.json").read_text())["growing"] for n in ("one", "two"))
    assert first["before"] == second["before"]
    assert first["old_rows"] == second["old_rows"]
    assert first["replayed"] == second["replayed"]


@pytest.mark.parametrize(
    "strategy", ["head_only", "freeze_first:k=1", "l2sp", "gradual", "wise_ft", "lora:r=2", "lp_ft"]
)
def test_strategies_that_keep_something(strategy, place, tmp_path):
    finetune(place, tmp_path, "--replay", place / "old", "--strategy", strategy)
    growing = json.loads((tmp_path / "report.json").read_text())["growing"]
    assert growing["forgetting"] == pytest.approx(growing["before"] - growing["after"])
    assert AutoModelForImageClassification.from_pretrained(tmp_path).config.num_labels == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--strategy", "from_scratch"], "from_scratch draws all weights anew, those of the old classes too"),
        (["--strategy", "co_tuning"], "co_tuning teaches the old head beside a new one"),
        (["--strategy", "freeze_first:auto"], "finds its depth for new classes alone"),
        (["--strategy", "auto"], "--strategy auto advises on a new head"),
        (["--model_name_or_path", "{place}/nameless"], "has no names of its classes (LABEL_0, LABEL_1)"),
        (["--model_name_or_path", "{place}/headless"], "has no trained head"),
        (["--model_name_or_path", "dann_mnist"], "dann_mnist has learned no classes that could be kept"),
        (["--dataset", "{place}/old"], "has no class that the network does not know"),
        (["--replay", "{place}/wrong"], "wrong has the class 'one', which is none of six, two, four"),
        (["--replay", "{place}/old", "--replay_rows", "0"], "--replay_rows 0 is out of range"),
        (["--replay", "{place}/old", "--old_classes", "replaced"], "give --old_classes kept with it"),
        (["--old_classes", "some"], "--old_classes some is unknown; choose kept, replaced"),
        (["--lwf", "-1"], "--lwf -1.0 is out of range"),
        (["--margin", "-1"], "--margin -1.0 is out of range"),
    ],
)
def test_what_cannot_be_kept_is_told_before_anything_trains(flags, message, place, tmp_path):
    done = finetune(place, tmp_path / "out", *(flag.format(place=place) for flag in flags), ok=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "step" not in done.stdout


def _texts(folder, names):
    words = {"six": "a b a b", "two": "c d c d", "one": "a c b d"}
    rows = [(words[name] if row % 4 else "a", name) for name in names for row in range(20)]
    Dataset.from_dict({"text": [text for text, _ in rows], "label": [name for _, name in rows]}).to_parquet(folder)


def _sounds(folder, names):
    soundfile = pytest.importorskip("soundfile")
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for row in range(15):
            wave = np.sin(np.arange(1200) * (0.1 * (1 + number) + 0.002 * row)).astype(np.float32)
            soundfile.write(folder / name / f"{row}.wav", 0.3 * wave, 16_000)


def _electra():
    config = tf.ElectraConfig(vocab_size=40, embedding_size=8, max_position_embeddings=32, num_labels=2, **tiny.SIZES)
    return tf.ElectraForSequenceClassification(config), tokenizer(), _texts, ".parquet"


def _speech():
    return tiny.TRANSFORMERS["wav2vec2_stable"]()[0], tf.Wav2Vec2FeatureExtractor(), _sounds, ""


@pytest.mark.parametrize("make", [_electra, _speech])
def test_texts_and_sounds(make, tmp_path):
    torch.manual_seed(0)
    model, processor, write, ending = make()
    old = ["six", "two"]
    replace_head(model, id2label=dict(enumerate(old)), seed=0)
    model.save_pretrained(tmp_path / "network")
    processor.save_pretrained(tmp_path / "network")
    write(tmp_path / f"old{ending}", old)
    write(tmp_path / f"new{ending}", ["one", "two"])
    flags = ["--model_name_or_path", tmp_path / "network", "--dataset", tmp_path / f"new{ending}"]
    finetune(tmp_path, tmp_path / "out", *flags, "--replay", tmp_path / f"old{ending}", "--replay_rows", "3")
    growing = json.loads((tmp_path / "out" / "report.json").read_text())["growing"]
    assert (growing["old_classes"], growing["new_classes"]) == (old, ["one"])
    assert growing["replayed"] == {"six": 3, "two": 3}
    assert growing["forgetting"] == pytest.approx(growing["before"] - growing["after"])


@pytest.mark.parametrize("family", ["timm", "torchvision"])
def test_networks_of_timm_and_torchvision(family, place, tmp_path):
    torch.manual_seed(0)
    if family == "timm":
        model = tiny.timm_wrapped("resnet18", 3)[0]
        model.config.pretrained_cfg = {**model.config.pretrained_cfg, "input_size": [3, 32, 32]}
    else:
        model = TorchvisionForImageClassification(TorchvisionConfig("resnet18", num_labels=3, image_size=32))
        image_processor().save_pretrained(tmp_path / "network")
    replace_head(model, id2label=dict(enumerate(OLD)), seed=0)
    model.save_pretrained(tmp_path / "network")
    flags = ["--model_name_or_path", tmp_path / "network", "--replay", place / "old", "--replay_rows", "4"]
    finetune(place, tmp_path / "out", *flags, "--image_size", "32")
    growing = json.loads((tmp_path / "out" / "report.json").read_text())["growing"]
    assert (tuple(growing["old_classes"]), tuple(growing["new_classes"])) == (OLD, NEW)
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    assert [saved.config.id2label[index] for index in range(5)] == [*OLD, *NEW]
