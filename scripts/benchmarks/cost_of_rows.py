"""What rows cost: CPU seconds and memory of every score, distance, probe, alignment and fit at several numbers of rows.

    python scripts/benchmarks/cost_of_rows.py --rows 4000 8000 16000 --width 512
    python scripts/benchmarks/cost_of_rows.py --rows 50000 100000 200000 --only log_me h_score trans_rate

Each figure is of a process of its own, on one thread: a fork of one that has imported the libraries. Memory is the peak
of the resident set above what it was with the inputs made, the inputs float32. Prints a table; growth is the exponent
of the rows between the first and the last size (1: linear; 0: as much for any number of rows). Needs Linux.
"""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection

import numpy as np
import torch
from transformers import HfArgumentParser

from hf_transfer_kit.adaptation.alignment import ALIGNMENTS
from hf_transfer_kit.adaptation.rejection import UNKNOWN_SCORES, Rejection, choose_rejection, open_set_metrics
from hf_transfer_kit.adaptation.scores import SCORES, DomainOutputs, target_scores
from hf_transfer_kit.features import linear_probe
from hf_transfer_kit.features.probe_fitting import KINDS
from hf_transfer_kit.selection.measures.distances import DISTANCES, domain_distance
from hf_transfer_kit.selection.measures.scores import FEATURE_SCORES, SOURCE_CLASS_SCORES
from hf_transfer_kit.zero_shot import JOINT_METHODS, METHODS, fitted_method

CLASSES, SEEN, ATTRIBUTES = 10, 40, 85
WARM = 200
"""Rows of the call before the one that is measured, which loads what a function imports."""


@dataclass
class CostArguments:
    """Sizes."""

    rows: list[int] = field(default_factory=lambda: [4_000, 8_000, 16_000], metadata={"help": "Rows, of both domains."})
    width: int = field(default=512, metadata={"help": "Features."})
    only: list[str] | None = field(default=None, metadata={"help": "Names of the table's first column; default: all."})


Call = Callable[[], object]
Make = Callable[[int, int], Call]
"""Rows and width -> a call, its inputs made."""


def labelled(rows: int, width: int, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Features around one centre a class, float32, and the classes."""
    generator = np.random.default_rng(0)
    labels = np.arange(rows) % classes
    features = generator.standard_normal((rows, width), dtype=np.float32)
    features += np.random.default_rng(1).standard_normal((classes, width), dtype=np.float32)[labels] / 4
    return features, labels


def domains(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Half of the rows each; the target is shifted."""
    features, _ = labelled(rows, width)
    features[rows // 2 :] += np.float32(0.1)
    return features[: rows // 2], features[rows // 2 :]


def _feature_score(score: Callable, rows: int, width: int) -> Call:
    return partial(score, *labelled(rows, width))


def _source_class_score(score: Callable, rows: int, width: int) -> Call:
    features, labels = labelled(rows, width)
    np.exp(features, out=features)
    features /= features.sum(1, keepdims=True)
    return partial(score, features, labels)


def _distance(kind: str, permutations: int, rows: int, width: int) -> Call:
    return partial(domain_distance, *domains(rows, width), kind=kind, max_rows=rows, permutations=permutations)


def _target_score(name: str, rows: int, width: int) -> Call:
    source, target = domains(rows, width)
    outputs = DomainOutputs(
        source, source[:, :CLASSES].copy(), np.arange(len(source)) % CLASSES, target, target[:, :CLASSES].copy()
    )
    return partial(target_scores, outputs, [name])


def _probe(kind: str, rows: int, width: int) -> Call:
    return partial(linear_probe, *labelled(rows, width), kind=kind)


def _alignment(align: Callable, rows: int, width: int) -> Call:
    return partial(align, *domains(rows, width))


def _zero_shot(method: str, rows: int, width: int) -> Call:
    features, labels = labelled(rows, width, SEEN)
    attributes = {"joint": width, "joint_mix": width + ATTRIBUTES}.get(method, ATTRIBUTES)
    signatures = torch.randn(SEEN, attributes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return partial(fitted_method, method, {}, torch.from_numpy(features), torch.from_numpy(labels), signatures)


def _unknown_score(name: str, rows: int, width: int) -> Call:
    return partial(Rejection(name, 0.5), labelled(rows, width)[0])


def _rejection(rows: int, width: int) -> Call:
    logits, _ = labelled(rows, width)
    return partial(choose_rejection, logits[: rows // 2], logits[rows // 2 : -rows // 4], logits[-rows // 4 :])


def _open_set(rows: int, width: int) -> Call:
    logits, _ = labelled(rows, width)
    return partial(open_set_metrics, logits, np.where(np.arange(rows) % 8, 0, width), Rejection("entropy", 0.5))


def members(*, permutations: int = 100) -> Iterator[tuple[str, str, Make]]:
    """Family, name and maker of every member of the registries, and of what belongs to none.

    Args:
        permutations: Of the distances.
    """
    for name, score in FEATURE_SCORES.items():
        yield "transferability", name, partial(_feature_score, score)
    for name, score in SOURCE_CLASS_SCORES.items():
        yield "transferability", name, partial(_source_class_score, score)
    for name in DISTANCES:
        yield "distance", name, partial(_distance, name, permutations)
    for name in SCORES:
        yield "score without labels", name, partial(_target_score, name)
    for name, align in ALIGNMENTS.items():
        if name != "transport" or find_spec("ot"):
            yield "alignment", name, partial(_alignment, align)
    for name in KINDS:
        yield "probe", name, partial(_probe, name)
    for name in (*METHODS, *JOINT_METHODS):
        yield "unseen classes", name, partial(_zero_shot, name)
    for name in UNKNOWN_SCORES:
        yield "rejection", name, partial(_unknown_score, name)
    yield "rejection", "choose_rejection", _rejection
    yield "rejection", "open_set_metrics", _open_set


def resident(field_: str) -> int:
    """Bytes of ``VmRSS`` (now) or ``VmHWM`` (the peak)."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field_))


def peak_above(call: Call) -> tuple[float, int]:
    """CPU seconds of a call, and bytes by which the resident set rose at its peak."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed would hide what is taken
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before, started = resident("VmRSS"), time.process_time()
    result = call()
    seconds, above = time.process_time() - started, resident("VmHWM") - before
    del result
    return seconds, above


def measured(make: Make, rows: int, width: int) -> tuple[float, int]:
    """``peak_above`` of a call, after one of few rows."""
    warnings.simplefilter("ignore")
    make(min(WARM, rows), width)()
    return peak_above(make(rows, width))


def in_own_process(function: Callable[..., object], *arguments: object) -> object:
    """What it gives in a fork of this process."""
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        raise SystemExit(f"{function.__name__} ended without a figure: out of memory, or killed.") from None
    finally:
        process.join()


def _send(there: Connection, function: Callable[..., object], arguments: tuple) -> None:
    gc.freeze()  # what was imported is no garbage to look for
    there.send(function(*arguments))


def growth(sizes: list[int], values: list[float]) -> float:
    """Exponent of the rows, between the first and the last size."""
    return math.log(max(values[-1], 1e-9) / max(values[0], 1e-9)) / math.log(sizes[-1] / sizes[0])


def main() -> None:
    (options,) = HfArgumentParser(CostArguments).parse_args_into_dataclasses()
    torch.set_num_threads(1)
    sizes = sorted(set(options.rows))
    if len(sizes) < 2 or sizes[0] < WARM:
        raise SystemExit(f"--rows {' '.join(map(str, options.rows))}: give two sizes or more, of {WARM} rows or more.")
    found = [member for member in members() if not options.only or member[1] in options.only]
    if not found:
        raise SystemExit(
            f"--only {' '.join(options.only)} names none of {', '.join(name for _, name, _ in members())}."
        )
    head = [f"{rows:,}" for rows in sizes]
    print(f"| | {' | '.join(f'{rows}, s' for rows in head)} | growth | {' | '.join(f'{rows}, MiB' for rows in head)} |")
    print("|---|" + "---:|" * (2 * len(sizes) + 1))
    family = None
    for of, name, make in found:
        if of != family:
            print(f"| *{of}* |" + " |" * (2 * len(sizes) + 1))
            family = of
        figures = [in_own_process(measured, make, rows, options.width) for rows in sizes]
        seconds, above = [figure[0] for figure in figures], [figure[1] / 2**20 for figure in figures]
        cells = [f"{value:.2f}" for value in seconds] + [f"{growth(sizes, seconds):.1f}"]
        print(f"| `{name}` | {' | '.join(cells)} | {' | '.join(f'{value:.0f}' for value in above)} |", flush=True)


if __name__ == "__main__":
    main()
