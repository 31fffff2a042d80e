"""A folder with files of others, links and secrets goes to a loopback Hub: exactly what the manifest names arrives."""

import subprocess
import sys
from dataclasses import replace

import yaml
from hub.sharing_cases import bert
from hub_server import TOKEN, HubServer

from hf_transfer_kit.hub import save_results
from hf_transfer_kit.hub.manifest import written_files
from hf_transfer_kit.values import Mistake


def test_exactly_the_manifest_arrives(tmp_path):
    case, folder = bert(), tmp_path / "run"
    (tmp_path / "birds").mkdir()
    config = {"dataset": str(tmp_path / "birds"), "model_name_or_path": "me/base"}
    shown = (Mistake(3, "a", "b", 0.9, shown="text", text="A row of theirs."), Mistake(4, "a", "b", 0.8, file="4.wav"))
    save_results(
        folder, replace(case.report, mistakes=shown), case.model, case.processor, config, base_model=case.base_model
    )
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "diary.md").write_text("dear diary")
    for name in (
        "customers.csv", "secrets.yaml", "wandb.json", "notes.txt", "other.safetensors", "page.html", "pictures/me.png",
        "adapter/adapter_config.json", "checkpoint-2/model.safetensors", "runs/1/record.json", ".env",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"key {TOKEN}")
    (folder / "diary.md").symlink_to(outside / "diary.md")
    (folder / "processors").symlink_to(outside)
    with HubServer() as server:
        command = [sys.executable, "-m", "hf_transfer_kit", "push", str(folder), "me/net"]
        environment = server.environment(tmp_path / "home")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert "report.html shows 1 text of test rows, and whoever may see me/net sees it." in done.stderr
        arrived = server.files("me/net")
    assert b"A row of theirs." in arrived["report.html"]
    assert b"A row of theirs." not in b"".join(data for name, data in arrived.items() if name != "report.html")
    written = written_files(folder)
    assert set(arrived) == set(written)
    assert {"README.md", "config.yaml", "model.safetensors", "report.json", "tokenizer.json"} <= set(arrived)
    as_they_lie = set(written) - {"README.md", "config.yaml"}
    assert all(arrived[name] == (folder / name).read_bytes() for name in as_they_lie)
    assert yaml.safe_load(arrived["config.yaml"]) == {"dataset": "birds", "model_name_or_path": "me/base"}
    assert yaml.safe_load((folder / "config.yaml").read_text()) == config
    for data in arrived.values():
        assert TOKEN.encode() not in data
        assert str(tmp_path).encode() not in data
