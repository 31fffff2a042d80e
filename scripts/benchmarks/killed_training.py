"""Kills every recipe again and again, gives the same command anew, and compares what it ends with.

    python scripts/benchmarks/killed_training.py --kills 4

Runs finetune.py with seven strategies, adapt.py with three methods, multitask.py, zero_shot.py and extract_features.py
on embedded data. Half of the kills (SIGKILL) come at a random moment, the others while a checkpoint, a finished run or
a cache is being written. After each the same command is given; no other hand is laid on the folders. Prints, for each
case, the kills, those while something was written, the commands that failed, and whether the last one's weights are bit
for bit those of a run that was left alone.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from begun_scripts import begun, ended  # first: it sets how the libraries compute

from hf_transfer_kit import selection  # noqa: F401 - imported once for all forks

_TUNED = ("--model_name_or_path", "small_resnet", "--dataset", "digits_m", "--train_size", "50", "--max_steps", "24")
_CHECKPOINTS = ("--save_strategy", "steps", "--save_steps", "3", "--resume_from_checkpoint", "true")
_STRATEGIES = ("full", "freeze_first", "gradual", "layerwise", "l2sp", "lora", "wise_ft")
_ADAPTED = ("adapt.py", "--max_steps", "16", "--evaluations", "2", "--per_device_train_batch_size", "16")
_METHODS = ("dann", "coral", "adamatch:source_weight=1")
CASES = {
    **{f"finetune {name}": ("finetune.py", *_TUNED, *_CHECKPOINTS, "--strategy", name) for name in _STRATEGIES},
    **{f"adapt {name}": (*_ADAPTED, "--method", name, "--seeds", "0", "1") for name in _METHODS},
    "multitask": ("multitask.py", "--max_steps", "16", "--seeds", "0", "1"),
    "zero_shot": ("zero_shot.py", "--splits", "2", "--train_network", "8"),
    "caches": ("extract_features.py", "--model_name_or_path", "small_resnet", "--dataset", "digits_m"),
}
"""What is run, without its folders."""
_COMPARED = ("model.safetensors", "train.arrow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=4, help="Of each case.")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    draw = random.Random(flags.seed)
    sums = {"kills": 0, "writing": 0, "failed": 0, "differ": 0}
    for index, case in enumerate(flags.cases):
        with tempfile.TemporaryDirectory() as folder:
            found = killed(CASES[case], Path(folder), flags.kills, draw, first_while_writing=index % 2 == 0)
        print(
            f"{case:36} {found['kills']} kills, {found['writing']} while writing; commands that failed: "
            f"{found['failed']}; weights {'DIFFER' if found['differ'] else 'equal'}",
            flush=True,
        )
        sums = {name: sums[name] + found[name] for name in sums}
    print(
        f"{len(flags.cases)} cases: {sums['kills']} kills, {sums['writing']} of them while something was written; "
        f"{sums['failed']} commands failed, {sums['differ']} cases ended with other weights."
    )


def killed(
    command: Sequence[str], folder: Path, kills: int, draw: random.Random, *, first_while_writing: bool
) -> dict[str, int]:
    """Kills, those while something was written, commands that failed, and ends with other weights."""
    began = time.perf_counter()
    if ended(begun(placed(command, folder / "whole"), folder / "log")):
        raise SystemExit((folder / "log").read_text())
    took = time.perf_counter() - began
    found = {"kills": 0, "writing": 0, "failed": 0, "differ": 0}
    for chain in range(2 * kills + 6):  # a run may end before it is killed: another one is begun
        cut = folder / f"cut{chain}"
        while True:
            left, writing = kills - found["kills"], (found["kills"] % 2 == 0) == first_while_writing
            half, moment = HalfWritten(cut, draw), draw.uniform(0.1, 0.9) * took
            due = half if writing else moment.__lt__
            status = ended(begun(placed(command, cut), folder / "log"), kill_when=due if left else None)
            if status is not None:
                break
            found["kills"] += 1
            found["writing"] += writing
        if status:
            found["failed"] += 1
            print((folder / "log").read_text()[-3000:])
        elif not same(folder / "whole", cut):
            found["differ"] += 1
        if status or found["kills"] == kills:
            break
    return found


def placed(command: Sequence[str], output: Path) -> list[str]:
    """The command with its own output folder and, where features are kept, its own cache."""
    caches = "--cache_dir" if command[0] not in ("multitask.py", "adapt.py") else None
    return [*command, "--output_dir", str(output), *([caches, str(output / "caches")] if caches else [])]


def same(whole: Path, cut: Path) -> bool:
    """Whether two runs left the same bytes of weights or features."""
    names = [name for name in _COMPARED if (whole / name).is_file()]
    return bool(names) and all((whole / name).read_bytes() == (cut / name).read_bytes() for name in names)


class HalfWritten:
    """Whether something in a folder is half-written: a checkpoint, a finished run, a cache or the results.

    Args:
        folder: The output folder.
        draw: Says which of those that come is meant, and how long it is watched.
    """

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.which, self.wait = folder, draw.randint(1, 3), draw.uniform(0, 0.02)
        self.seen: set[Path] = set()
        self.since: float | None = None

    def __call__(self, seconds: float) -> bool:
        if self.since is None:
            known = len(self.seen)
            self.seen.update(self._now())
            if known < self.which <= len(self.seen):
                self.since = seconds
        return self.since is not None and seconds - self.since >= self.wait

    def _now(self) -> list[Path]:
        checkpoints = self.folder.glob("checkpoint-*")
        return [
            *(path for path in checkpoints if not (path / "trainer_state.json").exists()),
            *self.folder.glob(".unfinished-*"),
            *self.folder.glob("runs/.unfinished-*"),
            *self.folder.glob("caches/*.partial/*.unfinished"),
        ]


if __name__ == "__main__":
    main()
