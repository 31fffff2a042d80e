"""What a command's help and an import cost: CPU seconds, beside what they cannot do without, one after the other.

    python scripts/benchmarks/start_up.py --rounds 5

Prints the median of each, and the ratio of `from hf_transfer_kit import FreezeLayers` to `from transformers import
Trainer` round by round.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys

TIMED = {
    "python": [sys.executable, "-c", "pass"],
    "hf-transfer --help": [sys.executable, "-m", "hf_transfer_kit", "--help"],
    "hf-transfer run --help": [sys.executable, "-m", "hf_transfer_kit", "run", "--help"],
    "Trainer": [sys.executable, "-c", "from transformers import Trainer"],
    "FreezeLayers": [sys.executable, "-c", "from hf_transfer_kit import FreezeLayers"],
}
"""What is timed: a name, and its command."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    took: dict[str, list[float]] = {name: [] for name in TIMED}
    for number in range(flags.rounds + 1):
        for name, command in TIMED.items():
            seconds = cpu_seconds(command)
            if number:  # the first round fills the disk's cache
                took[name].append(seconds)
    for name, seconds in took.items():
        print(f"{name:24} {statistics.median(seconds):6.2f} s CPU")
    ratios = [kit / trainer for kit, trainer in zip(took["FreezeLayers"], took["Trainer"], strict=True)]
    print(f"FreezeLayers / Trainer   {statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def cpu_seconds(command: list[str]) -> float:
    """User and system seconds of a process, which other work on the machine hardly changes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
