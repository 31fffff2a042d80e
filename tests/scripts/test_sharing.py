"""Scripts that begin with what lies on the Hub, and end there; the Hub is a loopback server."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from datasets import Dataset, Features, Image, Value
from hub_server import READ_TOKEN, TOKEN, HubServer
from PIL import Image as Pictures
from transformers import ViTImageProcessor

ROOT = Path(__file__).resolve().parents[2]
ROWS = {"train": 40, "test": 16}
FAST = ["--max_steps", "4", "--evaluations", "2", "--per_device_train_batch_size", "8", "--use_cpu"]
NET = ["--model_name_or_path", "me/net", "--dataset", "me/birds"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Hub with a network and a dataset of two parquet files."""
    folder = tmp_path_factory.mktemp("net")
    model, _ = tiny.TRANSFORMERS["resnet"]()
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    with HubServer() as server:
        server.add("me/net", {path.name: path.read_bytes() for path in folder.iterdir()})
        card = b"---\nlicense: mit\n---\n# Birds\n"
        files = {f"data/{split}-00000-of-00001.parquet": pictures(rows) for split, rows in ROWS.items()}
        server.add("me/birds", {"README.md": card, **files}, kind="datasets")
        server.add("me/photos", dict(photos()), kind="datasets")
        yield server


def photos():
    """The same squares as files in folders of their classes, and one file of train that is none."""
    yield "train/bright/99.png", b"no picture"
    for split, rows in ROWS.items():
        for row in range(rows):
            buffer = io.BytesIO()
            pixels = np.full((16, 16, 3), 40 + 150 * (row % 2) + row, np.uint8)
            Pictures.fromarray(pixels).save(buffer, "PNG")
            yield f"{split}/{('dark', 'bright')[row % 2]}/{row:02}.png", buffer.getvalue()


def pictures(rows: int) -> bytes:
    """Dark and bright squares as parquet."""
    values = np.arange(rows) % 2
    images = [np.full((16, 16, 3), 40 + 150 * value + row, np.uint8) for row, value in enumerate(values)]
    features = Features({"image": Image(), "label": Value("string")})
    names = [("dark", "bright")[value] for value in values]
    buffer = io.BytesIO()
    Dataset.from_dict({"image": images, "label": names}, features=features).to_parquet(buffer)
    return buffer.getvalue()


def run(server, script, *flags, home, token=TOKEN, launcher=(), timeout=300):
    environment = server.environment(home, token=token) | {"HF_DATASETS_CACHE": str(home / "datasets")}
    environment["HF_TRANSFER_KIT_CACHE"] = os.environ["HF_TRANSFER_KIT_CACHE"]
    command = [sys.executable, *launcher, str(ROOT / "scripts" / script), *map(str, flags)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize("kind", ["parquet", "pictures"])
def test_a_stream_from_the_hub_is_kept_nowhere(server, tmp_path, kind):
    given = {"parquet": ["me/birds", "--class_names", "bright", "dark"], "pictures": ["me/photos", "--skip_bad_rows"]}
    labels = {
        "parquet": {split: [1 - row % 2 for row in range(rows)] for split, rows in ROWS.items()},
        "pictures": {split: [int(row >= rows / 2) for row in range(rows)] for split, rows in ROWS.items()},
    }
    flags = ["--model_name_or_path", "me/net", "--streaming", "--use_cpu", "--dataset", *given[kind]]
    done = run(server, "extract_features.py", *flags, "--output_dir", tmp_path / "run", home=tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "run" / "features.json").read_text())["splits"]
    assert {split: of["skipped_rows"] for split, of in told.items()} == {"train": int(kind == "pictures"), "test": 0}
    for split, rows in ROWS.items():
        found = Dataset.from_file(str(tmp_path / "run" / f"{split}.arrow"))
        assert found["labels"][:] == labels[kind][split]
        assert len(set(map(tuple, found["features"][:]))) == rows
    kept = [file for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert not [file for file in kept if file.suffix == ".arrow" or file.read_bytes()[:4] in (b"PAR1", b"\x89PNG")]


def test_a_file_that_cannot_be_fetched_is_no_bad_row(server, tmp_path):
    server.fail("GET", r"photos/resolve/.*bright/07\.png", times=1000, status=403)
    flags = ["--model_name_or_path", "me/net", "--streaming", "--use_cpu", "--dataset", "me/photos", "--skip_bad_rows"]
    done = run(server, "extract_features.py", *flags, "--output_dir", tmp_path / "run", home=tmp_path / "home")
    server.heal()
    assert done.returncode == 2, done.stdout + done.stderr
    assert "The file of row 3 of train cannot be fetched: " in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert not list((tmp_path / "run").iterdir())


def test_from_the_hub_to_the_hub(server, tmp_path):
    flags = [*NET, "--strategy", "full", *FAST, "--save_strategy", "steps", "--save_steps", "2", "--hub_token", TOKEN]
    push = ["--push_to_hub", "--hub_model_id", "tuned", "--hub_private_repo", "true"]
    done = run(server, "finetune.py", *flags, *push, "--output_dir", tmp_path / "run", home=tmp_path, token=None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"The results are at {server.address}/me/tuned" in done.stdout
    repository = server.repositories["models", "me/tuned"]
    assert repository.private
    assert repository.messages == ["initial commit", "finetune: me/net on me/birds"]  # and none of Trainer's own
    files = server.files("me/tuned")
    assert (tmp_path / "run" / "training_args.bin").exists() or (tmp_path / "run" / "checkpoint-2").exists()
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth")) or "checkpoint" in name]
    assert files["model.safetensors"] == (tmp_path / "run" / "model.safetensors").read_bytes()
    report = json.loads(files["report.json"])
    assert report["data"]["sizes"] == {"train": 32, "validation": 8, "test": 16}
    for name, data in files.items():
        assert TOKEN.encode() not in data, name
    assert "hub_token" not in report["command"]
    assert b"hub_" not in files["config.yaml"]
    assert b"push_to_hub" not in files["config.yaml"]
    assert server.unknown == []


def test_a_bad_token_ends_before_any_work(server, tmp_path):
    server.heal()
    flags = [*NET, *FAST, "--push_to_hub", "--hub_model_id", "me/tuned", "--output_dir", tmp_path / "run"]
    done = run(server, "transfer.py", *flags, home=tmp_path, token=READ_TOKEN)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "may only read, so nothing could be pushed to me/tuned. Take one that may write."
    )
    assert not (tmp_path / "run").exists()
    # The base model's card is read for its licence; neither weights nor data were asked for.
    assert {path for _, path in server.requests} <= {"/api/whoami-v2", "/me/net/resolve/main/README.md"}


def test_a_push_that_fails_leaves_the_results_and_the_command(server, tmp_path):
    server.heal()
    server.fail("POST", "/api/models/me/lost/commit/", status=403)
    flags = ["--splits", "1", "--method", "eszsl", "--use_cpu", "--output_dir", tmp_path / "lost"]
    done = run(server, "zero_shot.py", *flags, "--push_to_hub", home=tmp_path)
    assert done.returncode == 2
    assert "The token may not write to me/lost (403)" in done.stderr
    assert "Traceback" not in done.stderr
    command = done.stderr.strip().rpartition("push them later with: hf-transfer ")[2].split()
    assert command == ["push", str(tmp_path / "lost"), "me/lost"]
    again = subprocess.run(
        [sys.executable, "-m", "hf_transfer_kit", *command],
        env=server.environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith(f"{server.address}/me/lost/commit/")
    assert server.files("me/lost")["report.json"] == (tmp_path / "lost" / "report.json").read_bytes()


@pytest.mark.slow
def test_two_processes_push_once(server, tmp_path):
    server.heal()
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    flags = [*NET, "--ddp_backend", "gloo", *FAST, "--push_to_hub", "--hub_model_id", "me/pair", "--strategies", "full"]
    done = run(server, "transfer.py", *flags, "--output_dir", tmp_path / "run", home=tmp_path, launcher=launcher)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("The results are at") == 1
    assert server.asked("POST", "/api/models/me/pair/commit/") == 1
    assert server.asked("GET", "/api/whoami-v2") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("script", "flags"), [("adapt.py", FAST), ("multitask.py", [*FAST[:2], "--use_cpu"])])
def test_every_recipe_pushes(server, tmp_path, script, flags):
    name = f"me/{script.removesuffix('.py')}"
    push = ["--push_to_hub", "--hub_model_id", name, "--output_dir", tmp_path / "run"]
    done = run(server, script, *flags, *push, home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"README.md", "report.json", "report.html", "model.safetensors"} <= set(server.files(name))


def test_a_script_that_leaves_no_model_says_so(server, tmp_path):
    done = run(server, "search_depth.py", "--push_to_hub", "--output_dir", tmp_path / "run", home=tmp_path)
    assert done.returncode == 2
    assert "hf-transfer finetune --config finetune.yaml --push_to_hub trains one and pushes it" in done.stderr
