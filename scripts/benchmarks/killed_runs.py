"""Kills a comparison again and again, starts it anew, and compares what it leaves with an uninterrupted one's.

    python scripts/benchmarks/killed_runs.py --kills 5 -- scripts/transfer.py --max_steps 60
    python scripts/benchmarks/killed_runs.py --kills 3 -- scripts/search_depth.py --max_steps 60
    python scripts/benchmarks/killed_runs.py --kills 3 -- scripts/zero_shot.py --splits 3 --train_network 60

Each start is killed (SIGKILL) after a time drawn between ``--least`` and ``--most`` seconds, until ``--kills`` are
spent; the last start runs to its end. Prints how many runs were trained in all, and whether report and weights are
equal.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_TIMES = ("seconds", "command", "watt_hours", "log")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--least", type=float, default=15.0)
    parser.add_argument("--most", type=float, default=45.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("command", nargs="+")
    flags = parser.parse_args()
    draw = random.Random(flags.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder) / "whole", Path(folder) / "cut"
        expected = trained(started(flags.command, whole, None)[0])
        done, kills = [], 0
        while True:
            limit = draw.uniform(flags.least, flags.most) if kills < flags.kills else None
            output, ended = started(flags.command, cut, limit)
            done += trained(output)
            if ended:
                break
            kills += 1
        same = [strip(json.loads((path / "report.json").read_text())) for path in (whole, cut)]
        files = [path / "model.safetensors" for path in (whole, cut)]  # a search of depths leaves none
        weights = [path.read_bytes() if path.is_file() else None for path in files]
        print(
            f"{kills} kills; {len(done)} runs trained to their end, {len(expected)} without a kill; twice: "
            f"{len(done) - len(set(done))}; reports {'equal' if same[0] == same[1] else 'DIFFER'}, weights "
            f"{'equal' if weights[0] == weights[1] else 'DIFFER'}."
        )


def started(command: list[str], output_dir: Path, limit: float | None) -> tuple[str, bool]:
    """What a start printed until it ended or was killed, and whether it ended by itself, well."""
    process = subprocess.Popen(
        [sys.executable, *command, "--output_dir", str(output_dir)], stdout=subprocess.PIPE, text=True
    )
    output = ""
    with contextlib.suppress(subprocess.TimeoutExpired):
        output = process.communicate(timeout=limit)[0]
    ended = process.poll() == 0
    process.kill()
    return output or process.communicate()[0], ended


def trained(output: str) -> list[str]:
    """The runs that ended, by the lines that they printed."""
    return re.findall(r"^(\S.*?, seed \d+|split \d+)\s+step (\d+)/\2\b", output, flags=re.MULTILINE)


def strip(value: object) -> object:
    """A report without wall times."""
    if isinstance(value, dict):
        return {name: strip(entry) for name, entry in value.items() if name not in _TIMES}
    return [strip(entry) for entry in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
