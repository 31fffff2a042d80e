"""Networks of fixed windows through every command: they are cut to the sounds, and what is saved is what was measured."""

import json
import re

import numpy as np
import processes
import pytest
import torch
import window_networks
from scripts.test_scripts import run
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from hf_transfer_kit import load_data, load_transferred
from hf_transfer_kit.data import raw_rows
from hf_transfer_kit.values.windows import Window

FAST = ["--max_steps", "2", "--evaluations", "1", "--per_device_train_batch_size", "8"]
TABLE = "class,loud,high\na,1,0\nb,0,1\nc,1,1\nd,0.5,1\ne,1,0.5\nf,0.5,0.5\n"


@pytest.fixture(scope="module")
def given(request, tmp_path_factory):
    """A network, stored in half precision, and sounds much shorter than its windows."""
    folder = tmp_path_factory.mktemp("given")
    window_networks.sounds(folder / "more_sounds", rows=45)
    window_networks.sounds(folder / "many_sounds", classes="abcdef")
    window_networks.sounds(folder / "new_sounds", classes=("hum", "low", "high"))
    network = window_networks.saved(request.param, folder / "network", dtype=torch.float16)
    return network, window_networks.sounds(folder / "sounds")


def figure_of(folder, sounds):
    """Accuracy on the test rows of what a run has left, asked file by file as a newcomer does."""
    test, asked = load_data(sounds).test, load_transferred(folder)
    answers = asked([row["path"] for row in raw_rows(load_data(sounds), "test")])
    names = test.features["label"].names
    return np.mean([answer.label == names[label] for answer, label in zip(answers, test["label"], strict=True)])


@pytest.mark.parametrize("given", window_networks.WITH_WINDOWS, indirect=True)
@pytest.mark.parametrize("strategy", ["full", "lora", "head_only --pooling statistics"])
def test_what_a_run_leaves_is_short_for_everyone(strategy, given, tmp_path):
    network, sounds = given
    flags = ["--model_name_or_path", network, "--dataset", sounds, "--output_dir", tmp_path]
    flags += ["--strategy", *strategy.split()]
    run("finetune.py", *flags, *FAST)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["data"]["prepared"]["window_seconds"] == 1
    (result,) = report["results"]
    assert figure_of(tmp_path, sounds) == pytest.approx(result["test"]["accuracy"], abs=1e-9)

    model = AutoModelForAudioClassification.from_pretrained(tmp_path)  # transformers' own words, as the card says
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert Window.of(extractor).seconds == 1
    inputs = extractor(np.zeros(9_000, np.float32), sampling_rate=16_000, return_tensors="pt")
    assert model.float()(**inputs).logits.isfinite().all()
    usage = re.search(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)[1]
    (tmp_path / "speech.wav").write_bytes(next(sounds.rglob("*.wav")).read_bytes())
    said = processes.run(["-c", usage], cwd=tmp_path)
    assert said.stdout.strip() in window_networks.CLASSES, said.stderr


COMMANDS = {
    "run": ["transfer.py", "--strategies", "head_only", "full"],
    "advise": ["advise.py"],
    "rank": ["advise.py", "--models", "small_resnet", "--rank_rows", "30"],
    "features": ["extract_features.py"],
    "pooling": ["finetune.py", "--pooling", "probe"],
    "depth": ["search_depth.py", "--seeds", "0"],
    "no source": ["adapt.py", "--method", "tent", "--seeds", "0"],
    "adapt": ["adapt.py", "--method", "coral", "--seeds", "0"],
    "several sources": ["adapt.py", "--method", "coral", "--seeds", "0"],
    "zero_shot": ["zero_shot.py", "--unseen", "b", "c", "--method", "eszsl"],
    "multitask": ["multitask.py", "--methods", "multitask", "--seeds", "0"],
    "old classes": ["finetune.py", "--old_classes", "kept", "--lwf", "1"],
    "stream": ["finetune.py", "--streaming", "--held_rows", "20"],
}


SEEN_OFTEN = ("run", "features")
"""Commands that are tried with every kind of network in the default suite; the others with Whisper's alone."""
CASES = [
    pytest.param(kind, command, marks=() if kind == "whisper" or command in SEEN_OFTEN else pytest.mark.slow)
    for kind in window_networks.WITH_WINDOWS
    for command in COMMANDS
]


@pytest.mark.parametrize(("given", "command"), CASES, indirect=["given"])
def test_every_command_cuts_the_network(command, given, tmp_path):
    network, sounds = given
    script, *flags = COMMANDS[command]
    more = sounds.with_name("more_sounds")
    (tmp_path / "table.csv").write_text(TABLE)
    data = {
        "no source": ["--source_model", network, "--target", sounds],
        "adapt": ["--source", sounds, "--target", sounds],
        "several sources": ["--source", sounds, more],
        "old classes": ["--dataset", sounds.with_name("new_sounds")],
        "zero_shot": ["--dataset", sounds.with_name("many_sounds"), "--attributes", tmp_path / "table.csv"],
        "multitask": ["--tasks", json.dumps({each.name: {"dataset": str(each)} for each in (sounds, more)})],
        "stream": ["--dataset", sounds, "--max_seconds", "0.8"],
    }.get(command, ["--dataset", sounds])
    if command != "no source":
        data += ["--model_name_or_path", network]
    steps = {"features": [], "zero_shot": [], "multitask": FAST[:2]}.get(command, FAST)
    run(script, *data, *flags, *steps, "--output_dir", tmp_path / "out")
    if (tmp_path / "out" / "preprocessor_config.json").exists():
        assert Window.of(AutoFeatureExtractor.from_pretrained(tmp_path / "out")).seconds == 1
