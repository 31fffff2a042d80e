"""Every recipe's model goes to the Hub from one process and comes back in another."""

import getpass
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, HubServer
from safetensors.torch import load_file

from hf_transfer_kit.hub.shareable import local_place

RECIPES = ("timm", "bert", "adversarial", "adapted", "multitask", "zero_shot", "lora")


@pytest.fixture(scope="module")
def trip(tmp_path_factory):
    """The server after pushing, and the folder with what either process found."""
    folder = tmp_path_factory.mktemp("trip")
    process = Path(__file__).with_name("sharing_process.py")
    with HubServer() as server:
        for action in ("push", "pull"):
            environment = server.environment(folder / f"home_of_{action}")
            done = subprocess.run(
                [sys.executable, str(process), action, str(folder)],
                env=environment, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            assert TOKEN not in done.stdout + done.stderr
        use = Path(__file__).with_name("usage_process.py")
        (folder / "use").mkdir()
        done = subprocess.run(
            [sys.executable, str(use), *RECIPES], cwd=folder / "use", env=server.environment(folder / "home_of_use"),
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        (folder / "use" / "said.json").write_text(done.stdout)
        assert done.returncode == 0, done.stderr
        yield server, folder


def test_logits_are_the_same(trip):
    _, folder = trip
    pushed, pulled = load_file(folder / "pushed.safetensors"), load_file(folder / "pulled.safetensors")
    for name in (*RECIPES[:-1], "trainer"):
        assert torch.equal(pulled[name], pushed[name]), name
    # The merged weights of an adapter, and the adapter on its base, round differently.
    # How much is the machine's BLAS: 1e-6 here, over 2e-5 there, of adapters drawn wide.
    assert torch.allclose(pulled["lora"], pushed["lora"], atol=1e-4)
    assert torch.allclose(pulled["adapter"], pushed["lora"], atol=1e-6)


def test_cards_are_parsed_back_with_their_figures(trip):
    cards = json.loads((trip[1] / "cards.json").read_text())
    classified = {"accuracy": 0.75, "macro_f1": 0.7}
    assert {name: cards[name]["metrics"] for name in RECIPES} == {
        "timm": classified,
        "bert": classified,
        "adversarial": {"accuracy": 0.83, "macro_f1": 0.82},
        "adapted": {"accuracy": 0.83, "macro_f1": 0.82},
        "multitask": {"accuracy": 0.74, "cer": 0.3, "spearman": 0.51},
        "zero_shot": {"unseen_accuracy": 0.8, "harmonic_mean": 0.48},
        "lora": classified,
    }
    assert cards["bert"]["base_model"] == "me/base"
    assert cards["timm"]["base_model"] == "timm/resnet18.a1_in1k"
    assert {cards[name]["library"] for name in RECIPES} == {"transformers"}


def test_the_table_of_attributes_travels_and_takes_new_classes(trip):
    assert json.loads((trip[1] / "cards.json").read_text())["new classes"] == ["zebra", "horse", "eagle", "owl"]
    assert load_file(trip[1] / "pulled.safetensors")["new classes"].shape == (2, 4)


@pytest.mark.parametrize("name", RECIPES)
def test_only_what_may_be_shared_was_uploaded(trip, name):
    server, _ = trip
    files = server.files(f"me/{name}")
    whole = {"README.md", "report.json", "report.html", "config.json", "config.yaml", "model.safetensors"}
    assert whole <= set(files)
    further = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json"}
    if name == "lora":
        further |= {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    assert {path for path in files if not path.startswith("pictures/")} <= whole | further
    assert server.repositories["models", f"me/{name}"].messages[1:] == [next(iter(_messages(files)))]


def _messages(files):
    report = json.loads(files["report.json"])
    yield f"{report['recipe']}: {report['title']}"


@pytest.mark.parametrize("name", RECIPES)
def test_no_token_user_or_place_is_in_what_was_uploaded(trip, name):
    server, folder = trip
    for path, data in server.files(f"me/{name}").items():
        text = data.decode("utf-8", errors="ignore")
        assert TOKEN not in text, path
        assert str(folder) not in text, path
        assert f"/{getpass.getuser()}/" not in text, path
        assert "alice" not in text.replace("../../home/alice", ""), path
        if not path.endswith((".safetensors", "tokenizer.json")):
            assert all(local_place(line) is None for line in text.splitlines()), path


def test_the_stock_trainer_pushes_no_pickle_either(trip):
    server, folder = trip
    assert (folder / "trainer" / "training_args.bin").exists()
    files = server.files("me/trainer")
    assert {"model.safetensors", "config.json", "README.md", "last-checkpoint/model.safetensors"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth"))]
    assert len(server.repositories["models", "me/trainer"].messages) > 3


def test_the_cards_snippets_run_as_they_stand(trip):
    answers = json.loads((trip[1] / "use" / "said.json").read_text())
    # Of a text the best class alone is said.
    for name, classes in (("timm", 5), ("bert", 1), ("adapted", 3), ("adversarial", 3), ("lora", 1)):
        assert answers[name].count("'score'") == classes, name
    assert answers["multitask"] == "BertForSequenceClassification 3"
    assert answers["zero_shot"].splitlines()[0] == "('stripes', 'hooves', 'flies')"
    assert "3: 'a new class'" in answers["zero_shot"]
    assert answers["lora"].endswith("default")


def test_nothing_was_asked_that_the_server_does_not_know(trip):
    assert trip[0].unknown == []
