"""Runs every recipe on a disk that fills up, frees it, and runs the same command again.

    python scripts/benchmarks/full_disk.py --megabytes 20

Mounts a tmpfs in a namespace of its own (Linux, where users may), as output folder and as the folder of caches, with so
little left that the recipe cannot end. Prints for each case what the script said, its exit status, whether everything
that lay there can still be read, and whether the same command ends once there is space.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from begun_scripts import begun, ended
from safetensors.torch import load_file

from hf_transfer_kit import selection  # noqa: F401 - imported once for all forks
from hf_transfer_kit.features import Store
from hf_transfer_kit.features.cleaning import list_caches
from hf_transfer_kit.tuning import last_whole_checkpoint

_MODEL = ("--model_name_or_path", "small_resnet", "--dataset", "digits_m", "--train_size", "50")
_STEPS = ("--max_steps", "8", "--per_device_train_batch_size", "16")
_TUNED = ("finetune.py", *_MODEL, *_STEPS, "--resume_from_checkpoint", "true")
_CHECKPOINTS = ("--save_strategy", "steps", "--save_steps", "4", "--save_total_limit", "1")
CASES = {
    "finetune, first checkpoint": (*_TUNED, *_CHECKPOINTS),
    "finetune, later checkpoint": (*_TUNED, *_CHECKPOINTS),
    "finetune, results": (*_TUNED, "--save_strategy", "no"),
    "transfer": ("transfer.py", *_MODEL, *_STEPS, "--strategies", "full", "from_scratch"),
    "adapt": ("adapt.py", *_STEPS, "--evaluations", "1", "--method", "dann"),
    "multitask": ("multitask.py", *_STEPS),
    "zero_shot": ("zero_shot.py", "--splits", "1", "--train_network", "4"),
    "search_depth": ("search_depth.py", *_MODEL, *_STEPS, "--seeds", "0", "--depths", "0", "2"),
    "advise": ("advise.py", *_MODEL, *_STEPS),
    "extract_features": ("extract_features.py", *_MODEL[:4]),
    "caches of transfer": ("transfer.py", *_MODEL, *_STEPS, "--strategies", "head_only", "full"),
    "caches of extract_features": ("extract_features.py", *_MODEL[:4]),
    "caches of advise": ("advise.py", *_MODEL, *_STEPS),
    "caches of finetune": (*_TUNED, "--save_strategy", "no", "--strategy", "head_only"),
    "caches of adapt": ("adapt.py", *_STEPS, "--evaluations", "1", "--method", "shallow"),
    "caches of search_depth": ("search_depth.py", *_MODEL, *_STEPS, "--seeds", "0", "--depths", "0", "2"),
}
"""What is run, without its folders."""
_LEFT = {"finetune, first checkpoint": 2.0, "finetune, later checkpoint": 11.0, "finetune, results": 2.0}
"""MB that are left; else few, and nothing beside small caches."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), metavar="CASE")
    flags = parser.parse_args()
    if os.environ.get("FULL_DISK_NAMESPACE") is None:
        environment = {**os.environ, "FULL_DISK_NAMESPACE": "1"}
        sys.exit(subprocess.call(["unshare", "-rm", sys.executable, *sys.argv], env=environment))
    wrong = 0
    for case in flags.cases:
        with tempfile.TemporaryDirectory() as folder:
            disk = Path(folder) / "disk"
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={flags.megabytes}m", "tmpfs", disk], check=True)
            try:
                found = tried(CASES[case], case, disk, Path(folder))
            finally:
                subprocess.run(["umount", disk], check=True)
        wrong += not found.startswith("right")
        print(f"{case}: {found}", flush=True)
    print(f"{len(flags.cases)} cases, {wrong} of them not as they should be.")


def tried(command: Sequence[str], case: str, disk: Path, room: Path) -> str:
    """What became of a case, in a line."""
    output = room / "out" if case.startswith("caches") else disk / "out"
    caches = disk / "caches" if case.startswith("caches") else room / "caches"
    placed = [*command, "--output_dir", str(output)]
    os.environ["HF_TRANSFER_KIT_CACHE"] = str(caches)
    filler = disk / "filler"
    left = _LEFT.get(case, 0.0 if case.startswith("caches") else 0.1)
    with filler.open("wb") as file:
        file.write(b"0" * (shutil.disk_usage(disk).free - int(left * 1e6)))
    status = ended(begun(placed, room / "log"))
    said = (room / "log").read_text()
    sentence = said.strip().splitlines()[-1] if said.strip() else ""
    if status != 1 or "Traceback" in said or "free some" not in sentence.lower():
        return f"WRONG, exit {status}: {said[-1500:]}"
    if unreadable := damaged(output, caches):
        return f"WRONG, {unreadable} cannot be read any more"
    whole = last_whole_checkpoint(output, tell=None)
    filler.unlink()
    status = ended(begun(placed, room / "again"))
    again = (room / "again").read_text()
    if status or damaged(output, caches):
        return f"WRONG, with space again exit {status}: {again[-1500:]}"
    if whole and f"goes on from {Path(whole).name}" not in again:
        return f"WRONG, it began anew: {again[-500:]}"
    return f"right. It said: {sentence.replace(str(disk), 'DISK')}"


def damaged(output: Path, caches: Path) -> str | None:
    """The first file that is there and cannot be read."""
    for file in sorted(output.glob("*")):
        try:
            if file.suffix == ".safetensors":
                load_file(file)
            elif file.suffix == ".json":
                json.loads(file.read_text())
        except Exception as error:
            return f"{file.name} ({error})"
    for cache in list_caches(caches):
        if cache.finished:
            Store(cache.path)
    return None


if __name__ == "__main__":
    main()
