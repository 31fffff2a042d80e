"""With several processes one pushes, and all hear how it went."""

import pytest
from hub.sharing_cases import bert
from hub_server import HubServer

from hf_transfer_kit.hub import save_results

SCRIPT = """
import sys
import torch
from transformers import TrainingArguments
from hf_transfer_kit import push_transfer_model
from hf_transfer_kit.errors import TransferKitError

args = TrainingArguments(output_dir=sys.argv[1], use_cpu=True, ddp_backend="gloo", report_to=[])
rank = torch.distributed.get_rank()
commit = push_transfer_model(sys.argv[1], "me/together")
print(f"rank {rank} has {commit.oid}\\n", end="")
try:
    push_transfer_model(sys.argv[1], "somebody/else")
except TransferKitError as error:
    print(f"rank {rank} {type(error).__name__} {error}\\n", end="")
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    with HubServer() as server:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in server.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        yield server


def test_one_push_and_one_answer(server, two_processes, tmp_path):
    case = bert()
    save_results(tmp_path / "run", case.report, case.model, case.processor, {}, base_model=case.base_model)
    output = two_processes(SCRIPT, tmp_path / "run").stdout
    name = server.repositories["models", "me/together"].branches["main"]
    for rank in (0, 1):
        assert f"rank {rank} has {name}" in output
        assert f"rank {rank} HubError The token may not write to somebody/else (403)" in output
    assert server.repositories["models", "me/together"].messages == ["initial commit", "transfer: base on birds"]
    assert server.asked("POST", "/api/models/me/together/commit/") == 1
    assert server.asked("POST", "/api/repos/create/") == 2
