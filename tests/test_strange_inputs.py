"""Whatever people write or files hold: what reads it gives a value or one of the kit's errors, and nothing else."""

import contextlib
import inspect
import os
from pathlib import Path

import datasets
import pytest
import strange_inputs
from hypothesis import HealthCheck, given, settings

from hf_transfer_kit.errors import TransferKitError

LONG = int(os.environ.get("STRANGE_INPUTS", "20000"))
"""Inputs of the long run, over all targets."""
SHARES = sum(share for _, _, share in strange_inputs.TARGETS.values())


def only_our_errors(target: str, examples: int, folder: Path, *, derandomize: bool) -> int:
    """Runs a target on so many inputs; how many there were."""
    inputs, reads, _ = strange_inputs.TARGETS[target]
    in_folder = "folder" in inspect.signature(reads).parameters
    count = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=derandomize,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def run(written: object) -> None:
        nonlocal count
        count += 1
        with contextlib.suppress(TransferKitError):
            reads(written, folder) if in_folder else reads(written)

    run()
    return count


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder, with caches of datasets in it."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield tmp_path
    datasets.enable_progress_bars()


@pytest.mark.parametrize("target", strange_inputs.TARGETS)
def test_only_our_errors_come_out(target, place):
    examples = 10 if target.endswith("files") else 50
    assert only_our_errors(target, examples, place, derandomize=True) >= examples / 2


@pytest.mark.slow
@pytest.mark.parametrize("target", strange_inputs.TARGETS)
def test_only_our_errors_come_out_of_very_many(target, place):
    examples = max(10, round(LONG * strange_inputs.TARGETS[target][2] / SHARES))
    print(f"{target}: {only_our_errors(target, examples, place, derandomize=False)} inputs")
