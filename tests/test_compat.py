"""The range of versions is stated once, and what differs within it is asked of one module."""

import sys
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import CommitInfo
from huggingface_hub.errors import HfHubHTTPError
from packaging.requirements import Requirement
from packaging.version import Version
from transformers import Trainer

from hf_transfer_kit import compat

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned(name):
    lines = (ROOT / name).read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {package.lower(): Version(version) for package, version in pins}


def bounds(requirements):
    """Package -> its lower bound."""
    found = {}
    for requirement in map(Requirement, requirements):
        (low,) = [limit.version for limit in requirement.specifier if limit.operator == ">="]
        found[requirement.name.lower()] = Version(low)
    return found


def test_the_lower_bounds_are_the_oldest_versions_that_are_run():
    extras = PROJECT["optional-dependencies"]
    used = [line for extra in ("audio", "text", "balancing") for line in extras[extra]]
    assert bounds([*PROJECT["dependencies"], *used]) == pinned("constraints-oldest.txt")


def test_every_dependency_allows_the_newest_version_that_is_run():
    newest = pinned("constraints.txt")
    for requirement in map(Requirement, PROJECT["dependencies"]):
        if requirement.name.lower() in newest:
            assert newest[requirement.name.lower()] in requirement.specifier, requirement
    assert Version("6.0") not in Requirement(next(r for r in PROJECT["dependencies"] if "transformers" in r)).specifier


def test_what_the_core_names_is_there():
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["core"]
    assert [path for path in core if not (ROOT / path).exists()] == []
    assert core == list(dict.fromkeys(core))


def test_a_late_argument_is_read_under_either_name(training_arguments):
    quiet = training_arguments()
    asked = training_arguments(activation_checkpointing=True, activation_checkpointing_kwargs={"use_reentrant": False})
    assert not compat.training_argument(quiet, "activation_checkpointing")
    assert compat.training_argument(asked, "activation_checkpointing") is True
    assert compat.training_argument(asked, "activation_checkpointing_kwargs") == {"use_reentrant": False}
    with pytest.raises(KeyError):
        compat.training_argument(quiet, "no_such_argument")


def test_an_argument_that_is_not_there_asks_for_nothing(training_arguments, monkeypatch):
    monkeypatch.setitem(compat.LATE_ARGUMENTS, "an_argument_to_come", None)
    assert compat.training_argument(training_arguments(), "an_argument_to_come") is None


@pytest.mark.parametrize(
    ("how", "reentrant"), [(None, False), ({"use_reentrant": False}, False), ({"use_reentrant": True}, True), ({"determinism_check": "none"}, True)]
)  # fmt: skip
def test_reentrant_checkpointing_is_seen(how, reentrant, training_arguments):
    args = training_arguments(activation_checkpointing=True, activation_checkpointing_kwargs=how)
    assert compat.asks_for_reentrant_checkpointing(args) is reentrant
    args = training_arguments(activation_checkpointing=False, activation_checkpointing_kwargs=how)
    assert compat.asks_for_reentrant_checkpointing(args) is False


def test_the_client_is_the_one_whose_errors_the_hub_raises():
    client = compat.http_client()
    assert client.__name__ in ("httpx", "httpx2")
    assert issubclass(HfHubHTTPError, client.HTTPError)
    assert issubclass(client.ConnectError, client.TransportError)
    assert sys.modules["huggingface_hub.utils._http"].get_session().__class__.__module__.startswith(client.__name__)


def test_the_answer_to_a_commit_travels_as_plain_values():
    commit = CommitInfo(
        commit_url="https://huggingface.co/me/net/commit/abc", commit_message="told", commit_description="", oid="abc"
    )
    values = compat.commit_fields(commit)
    assert {type(value) for value in values.values()} <= {str, type(None)}
    again = CommitInfo(**values)
    assert (again, again.oid, again.repo_url, again.commit_message) == (commit, "abc", commit.repo_url, "told")


def test_a_trainer_that_was_told_of_its_loss_is_believed_where_it_can_be(training_arguments):
    import torch

    trainer = Trainer(torch.nn.Linear(1, 1), training_arguments())
    assert compat.loss_is_scaled(trainer) is None
    trainer.loss_is_scaled_for_ga = False
    assert compat.loss_is_scaled(trainer) is (False if hasattr(Trainer, "loss_is_scaled_for_ga") else None)


SHARDED = """
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from hf_transfer_kit.compat import sharded_like

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
parameter = distribute_tensor(torch.zeros(5, 2), mesh, [Shard(0)])
part = sharded_like(torch.arange(10.0).reshape(5, 2), parameter).to_local()
print(f"rank {dist.get_rank()} has {part.flatten().tolist()}\\n", end="")
"""


def test_a_tensor_is_laid_out_as_a_sharded_parameter(two_processes):
    output = two_processes(SHARDED).stdout
    assert "rank 0 has [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]" in output
    assert "rank 1 has [6.0, 7.0, 8.0, 9.0]" in output
