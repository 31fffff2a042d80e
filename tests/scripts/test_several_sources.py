"""scripts/adapt.py with several sources: for a domain never seen, and as one source beside a target."""

import json

import datasets
import numpy as np
import pytest
import tiny
import torch
import yaml
from PIL import Image
from scripts.test_adapt import tiny_tokenizer
from scripts.test_scripts import run
from transformers import AutoModelForImageClassification

FAST = ["--max_steps", "2", "--evaluations", "1", "--per_device_train_batch_size", "4", "--use_cpu"]
COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200), "grey": 128}


def pictures(folder, name, classes=("dark", "bright"), rows=30):
    """Pictures of one colour; grey ones have one channel."""
    colour = COLOURS[name]
    images, labels = [], []
    for row in range(rows):
        label = row % len(classes)
        mode = "L" if isinstance(colour, int) else "RGB"
        image = Image.new(mode, (12, 12), colour)
        images.append(Image.eval(image, lambda value, label=label: value // 4 if label == 0 else value))
        labels.append(label)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))})
    rows = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
    rows.to_parquet(folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    for name in COLOURS:
        pictures(folder, name, classes=("bright", "dark") if name == "green" else ("dark", "bright"))
    return folder


def test_a_network_for_a_domain_never_seen(place, tmp_path):
    sources = [place / f"{name}.parquet" for name in ("red", "green", "grey")]
    flags = [
        "--source",
        *sources,
        "--unseen",
        place / "blue.parquet",
        "--method",
        "joint:average=swad",
        "per_domain_bn",
    ]
    done = run("adapt.py", *flags, *FAST, "--seeds", "0", "1", "--output_dir", tmp_path / "first")
    report = json.loads((tmp_path / "first" / "report.json").read_text())
    found = report["generalisation"]
    assert found["sources"] == ["red.parquet", "green.parquet", "grey.parquet"]
    assert [result["method"] for result in found["results"]] == ["joint", "joint:average=swad", "per_domain_bn"]
    names = found["sources"]
    for result in found["results"]:
        assert list(result["left_out"]) == names
        assert all(len(values) == 2 for values in result["left_out"].values())
    means = {r["method"]: sum(sum(v) for v in r["left_out"].values()) for r in found["results"]}
    assert means[found["chosen"]] == max(means.values())
    assert found["unseen_name"].startswith("blue")
    assert len(found["unseen"]) == 2
    assert found["alike"] == []
    page, card = ((tmp_path / "first" / name).read_text() for name in ("report.html", "README.md"))
    for text in (done.stdout, page, card):
        assert "On a new domain expect" in text
    assert "on which nothing was learned or chosen" in done.stdout
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "first")
    assert not [name for name in model.state_dict() if "sources_" in name]
    assert set(model.config.id2label.values()) == {"dark", "bright"}
    with torch.no_grad():
        assert model(pixel_values=torch.randn(1, 3, 28, 28)).logits.shape == (1, 2)
    config = yaml.safe_load((tmp_path / "first" / "config.yaml").read_text())
    assert len(config["source"]) == 3
    assert config["unseen"].endswith("blue.parquet")
    run("adapt.py", "--config", tmp_path / "first" / "config.yaml", "--output_dir", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "report.json").read_text())
    assert again["metrics"] == report["metrics"]


def test_two_sources_say_what_leaving_one_out_cannot_tell(place, tmp_path):
    done = run("adapt.py", "--source", place / "red.parquet", place / "green.parquet", *FAST, "--output_dir", tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())["generalisation"]
    assert [r["method"] for r in found["results"]] == ["joint", "joint:average=swad", "coral", "group_dro"]
    assert found["alike"] == ["joint", "coral", "group_dro"]
    assert "joint, coral, group_dro are one and the same there" in done.stdout
    assert "no domain was kept for a last figure" in done.stdout


def test_sources_beside_a_target_are_one_source_that_counts_them_alike(place, tmp_path):
    flags = ["--source", place / "red.parquet", place / "green.parquet", "--target", place / "blue.parquet"]
    run("adapt.py", *flags, "--method", "mmd", "--sampler", "balanced", *FAST, "--output_dir", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [r["method"] for r in report["adaptation"]["results"]] == ["source_only", "mmd", "target_supervised"]
    assert report["generalisation"] is None
    assert " + " in report["data"]["source"]["name"]
    sizes = report["data"]["source"]["sizes"]
    assert len(sizes) == 6
    assert sum(sizes.values()) == 60


def test_one_source_in_a_list_is_what_it_was(tmp_path):
    run("adapt.py", "--source", "digits", "--target", "digits_m", "--method", "mmd", *FAST, "--output_dir", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["data"]["source"]["name"] == "digits"
    assert set(report["data"]["source"]["sizes"]) == {"train", "validation", "test"}


def test_texts_of_several_shops(tmp_path):
    model, _ = tiny.TRANSFORMERS["bert"]()
    model.save_pretrained(tmp_path / "bert")
    tiny_tokenizer(tmp_path / "bert")
    for shop, start in (("books", 0), ("toys", 5), ("food", 10)):
        rows = {
            "text": [f"{'good' if row % 2 else 'bad'} word {start + row % 5}" for row in range(40)],
            "label": [row % 2 for row in range(40)],
        }
        datasets.Dataset.from_dict(rows).to_parquet(tmp_path / f"{shop}.parquet")
    sources = [tmp_path / f"{shop}.parquet" for shop in ("books", "toys", "food")]
    flags = ["--source", *sources, "--model_name_or_path", tmp_path / "bert", "--method", "coral", "--select", "last"]
    run("adapt.py", *flags, *FAST, "--output_dir", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "report.json").read_text())["generalisation"]
    assert found["selected_by"] == "last"
    assert len(found["known"]) == 3
    refused = run(
        "adapt.py", *flags[:-4], "--method", "per_domain_bn", *FAST, "--output_dir", tmp_path / "no", ok=False
    )
    assert refused.returncode == 2
    assert "BertForSequenceClassification has no BatchNorm: there it would be joint. Leave it out." in refused.stderr


def test_sounds_of_several_speakers(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    generator = np.random.default_rng(0)
    for speaker in ("ann", "bob"):
        for word in ("no", "yes"):
            (tmp_path / speaker / word).mkdir(parents=True)
            for row in range(10):
                wave = 0.1 * generator.normal(size=1600)
                soundfile.write(tmp_path / speaker / word / f"{row}.wav", wave, 8000)
    flags = ["--source", tmp_path / "ann", tmp_path / "bob", "--model_name_or_path", "small_wav2vec2"]
    run("adapt.py", *flags, "--method", "group_dro", *FAST, "--output_dir", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["data"]["modality"] == "audio"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--source", "{red}", "{odd}"], "odd.parquet lacks 'bright' and has besides 'striped'"),
        (["--source", "{red}", "{green}", "--unseen", "{odd}"], "odd.parquet lacks 'bright' and has besides 'striped'"),
        (["--source", "{red}", "{red}"], "none twice"),
        (["--source", "{red}", "{green}", "--unseen", "{red}"], "is a source, so it would be seen"),
        (["--source", "{red}", "--unseen", "{green}"], "give it with two or more in --source"),
        (["--source", "{red}", "{green}", "--target", "{blue}", "--unseen", "{grey}"], "and without --target"),
        (["--source", "{red}"], "Two sources or more need no --target"),
        (["--source", "{red}", "{green}", "--method", "dann"], "There is no method 'dann' for several sources"),
        (["--source", "{red}", "{green}", "--select", "snd"], "--select snd reads a target, and there is none"),
        (["--source", "{red}", "{green}", "--source_config", "a", "b", "c"], "names 3 configurations for 2 sources"),
        (["--source", "{red}", "{green}", "--target_rows", "a=b"], "--target_rows is about --target or --unseen"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_trains(flags, words, place, tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "striped"])})
    rows = {
        "image": [Image.new("RGB", (8, 8), (row, 0, 0)) for row in range(20)],
        "label": [row % 2 for row in range(20)],
    }
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "odd.parquet")
    files = {name: str(place / f"{name}.parquet") for name in COLOURS} | {"odd": str(tmp_path / "odd.parquet")}
    given = [flag.format(**files) for flag in flags]
    done = run("adapt.py", *given, *FAST, "--output_dir", tmp_path / "out", ok=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words.format(**files) in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "report.json").exists()


def test_two_processes_give_one_report(place, tmp_path):
    flags = [
        "--source",
        place / "red.parquet",
        place / "green.parquet",
        "--method",
        "group_dro",
        "--ddp_backend",
        "gloo",
    ]
    done = run("adapt.py", *flags, *FAST, "--output_dir", tmp_path, ranks=2)
    assert done.stdout.count("The report is") == 1
