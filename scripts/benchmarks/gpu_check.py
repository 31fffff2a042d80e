"""What the kit is worth on a GPU: one command of at most eight minutes that writes one JSON and one markdown table.

    python scripts/benchmarks/gpu_check.py             # on a machine with a CUDA device
    python scripts/benchmarks/gpu_check.py --reduced   # tiny, on a CPU: does it still run?

Sections (``--sections a b`` chooses): (a) every part and method in half precision against float32; (b) steps of DANN,
L2-SP and DELTA against loops written by hand; (c) ``cache_features`` against a plain forward; (d) what freezing and a
cached prefix save; (e) runs of a race one after another and at once; (f) transferability scores. Each runs in a process
of its own within a time of its own; what an earlier one did not need the later ones have. The files are written after
each. The exit status is 1 where a section failed or something is wrong; what is more than 5 % slower than the loop
written by hand has a mark and is no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from on_gpu.bench import FAILED, UNMEASURED, WRONG, Bench
from on_gpu.isolated import Broken, Isolated, start_method
from on_gpu.sections import SECTIONS, run_section
from on_gpu.tables import about, markdown


def measured(letter: str, bench: Bench, seconds: float) -> dict[str, Any]:
    """One section's result: its records, how long it took, and what ended it early, or None."""
    section = SECTIONS[letter]
    found: dict[str, Any] = {"title": section.title, "records": [], "error": None}
    started = time.time()
    until = started + seconds
    process = Isolated(start_method(bench.device), run_section, letter, bench, until)
    try:
        # A section sees to its time by itself; one that hangs is ended a little later.
        while (record := process.next(until + section.grace - time.time())) is not None:
            found["records"].append(record)
            print(
                f"({letter}) {record['what']}: {record.get('mark') or 'measured'} {record.get('why', '')}", flush=True
            )
    except Broken as error:
        found["error"] = str(error)
        print(f"({letter}) failed: {error}", flush=True)
    finally:
        process.close()
    found["seconds"] = time.time() - started
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/gpu_check"))
    parser.add_argument("--reduced", action="store_true", help="Tiny sizes on the CPU; figures mean nothing.")
    options = parser.parse_args()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # one device
    if not options.reduced and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here; on a CPU only the reduced form runs: add --reduced.")
    options.output_dir.mkdir(parents=True, exist_ok=True)
    result = {**about(options.reduced), "sections": {}}
    left = 0.0  # what sections did not need
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench("cpu" if options.reduced else "cuda", options.reduced, Path(folder))
        for letter in options.sections:
            allowed = SECTIONS[letter].seconds * bench.given(1, 5) + left  # a CPU may be slow, and has no eight minutes
            result["sections"][letter] = found = measured(letter, bench, allowed)
            left = max(0.0, allowed - found["seconds"])
            result["seconds"] = sum(section["seconds"] for section in result["sections"].values())
            (options.output_dir / "gpu_check.json").write_text(json.dumps(result, indent=1))
            (options.output_dir / "gpu_check.md").write_text(markdown(result))
    marks = [record.get("mark") for section in result["sections"].values() for record in section["records"]]
    failed = [letter for letter, section in result["sections"].items() if section["error"]]
    print(
        f"{len(marks)} measurements in {result['seconds']:.0f} s, {marks.count(WRONG)} wrong, {marks.count(FAILED)} "
        f"failed, {marks.count(UNMEASURED)} not measured; {options.output_dir / 'gpu_check.md'}"
    )
    raise SystemExit(bool(failed or WRONG in marks or FAILED in marks))


if __name__ == "__main__":
    main()
