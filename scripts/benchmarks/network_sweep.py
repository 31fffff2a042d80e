"""The kit on every network that can be built here: timm's, transformers' Auto classes, torchvision's, and own modules.

    python scripts/benchmarks/network_sweep.py --library own timm --output sweep.jsonl

Each network runs in a process of its own, within a time limit; a run that was stopped goes on where it was. Every check
is right, refused (an error of the kit, a sentence), wrong (another result), or crashed (any other error).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent))

from sweep import zoo
from sweep.checks import CHECKS

from hf_transfer_kit.errors import TransferKitError

STATES = ("right", "refused", "wrong", "crashed")


def examine(library: str, name: str, columns: Sequence[str]) -> dict:
    """One record: the state of every check, or why the network was not built."""
    record: dict = {"library": library, "name": name, "checks": {}}
    for column, check in ((column, CHECKS[column]) for column in columns):
        try:
            model, inputs = zoo.build(library, name)
        except Exception as error:
            return {**record, "not_built": f"{type(error).__name__}: {error}"[:200]}
        record["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        try:
            fault = check(model, inputs)
            record["checks"][column] = ["wrong", fault] if fault else ["right", ""]
        except TransferKitError as error:
            record["checks"][column] = ["refused", str(error)[:300]]
        except Exception as error:
            record["checks"][column] = ["crashed", f"{type(error).__name__}: {error}"[:300]]
    return record


def _child(library: str, name: str, columns: Sequence[str], send) -> None:
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    send.send(examine(library, name, columns))


def in_own_process(library: str, name: str, columns: Sequence[str], *, seconds: float) -> dict:
    """``examine`` in a fork, so that neither a crash nor an endless forward ends the sweep."""
    receive, send = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(library, name, columns, send))
    child.start()
    send.close()
    record = {"library": library, "name": name, "checks": {}, "not_built": f"no answer within {seconds:.0f} s"}
    try:
        if receive.poll(seconds):
            record = receive.recv()
    except EOFError:
        record["not_built"] = "the process ended"
    child.kill()
    child.join()
    return record


def table(records: list[dict]) -> str:
    """Counts by column, then the failures by cause."""
    built = [record for record in records if record["checks"]]
    lines = [
        f"{len(built)} of {len(records)} networks were built",
        f"{'check':14}" + "".join(f"{s:>10}" for s in STATES),
    ]
    causes: Counter = Counter()
    for column in CHECKS:
        states = Counter(record["checks"][column][0] for record in built if column in record["checks"])
        lines.append(f"{column:14}" + "".join(f"{states[state]:>10}" for state in STATES))
        for record in built:
            state, words = record["checks"].get(column, ("right", ""))
            if state in ("wrong", "crashed"):
                causes[f"{column}, {state}: {record['library']}/{record['name']}: {words[:140]}"] += 1
    return "\n".join([*lines, *causes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", nargs="+", choices=zoo.LIBRARIES, default=zoo.LIBRARIES)
    parser.add_argument("--only", default="", help="Part of the name.")
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--output", type=Path, default=Path("network_sweep.jsonl"))
    parser.add_argument("--again", action="store_true", help="Examine also what the output file holds already.")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=120.0, help="For one network.")
    options = parser.parse_args()
    known = [json.loads(line) for line in options.output.read_text().splitlines()] if options.output.exists() else []
    done = {(record["library"], record["name"]): record for record in known}
    wanted = [(lib, n) for lib in options.library for n in zoo.names(lib) if options.only.lower() in n.lower()]
    missing = [key for key in wanted if options.again or key not in done]
    with options.output.open("a") as file, ThreadPoolExecutor(options.workers) as pool:
        for record in pool.map(lambda key: in_own_process(*key, options.checks, seconds=options.seconds), missing):
            before = done.get((record["library"], record["name"]), {}).get("checks", {})
            record["checks"] = {**before, **record["checks"]} if record["checks"] else {}
            done[record["library"], record["name"]] = record
            file.write(json.dumps(record) + "\n")
            file.flush()
    records = [done[key] for key in wanted]
    print(table(records))
    faults = [s for record in records for s, _ in record["checks"].values() if s in ("wrong", "crashed")]
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
