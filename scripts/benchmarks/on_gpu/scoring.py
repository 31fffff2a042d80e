"""(f) Transferability scores on 200,000 x 2,048 features.

The kit's scores run on the CPU alone: there is no path for a device. Beside them stands what such a path could take at
most: the matrix that they are made of and its eigenvalues, by torch on the device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from hf_transfer_kit import transferability
from hf_transfer_kit.selection.measures.scores import FEATURE_SCORES, SOURCE_CLASS_SCORES
from on_gpu.bench import UNMEASURED, Bench, Record

CLASSES = 10
_FEWER = {"knn_accuracy": 20_000, "probe_accuracy": 1_000}
"""Rows for scores that compare all rows with all, or fit a classifier many times."""


def drawn(bench: Bench, rows: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features that tell their classes a little, on the device, and the classes on the CPU."""
    torch.manual_seed(0)
    labels = torch.arange(rows) % CLASSES
    centres = torch.randn(CLASSES, width, device=bench.device)
    features = torch.randn(rows, width, device=bench.device)
    return features.add_(centres[labels.to(bench.device)], alpha=0.1), labels


def eigenvalues(features: torch.Tensor) -> torch.Tensor:
    """Of F^T F in float64."""
    wide = features.double()
    return torch.linalg.eigvalsh(wide.T @ wide)


def measure(bench: Bench, until: float) -> Iterator[Record]:
    """Every score of the registries, the cheap ones first, as long as there is time."""
    rows, width, sources = bench.given((200_000, 2048, 100), (60, 8, 5))
    features, labels = drawn(bench, rows, width)
    eigenvalues(features)  # warms up
    by_hand = bench.seconds(lambda: eigenvalues(features))
    yield {"what": f"Gram matrix and eigenvalues of {rows} x {width} by torch", f"s on {bench.device}": by_hand}
    probabilities = torch.softmax(torch.randn(rows, sources, device=bench.device), 1).cpu()
    features = features.cpu()
    for name in sorted([*FEATURE_SCORES, *SOURCE_CLASS_SCORES], key=lambda name: name in _FEWER):
        count = min(rows, _FEWER.get(name, rows))
        what = f"{name}, {count} rows"
        if time.time() > until - bench.given(12, 0):  # what the longest takes, about
            yield {"what": what, "mark": UNMEASURED, "why": "no time left"}
            continue
        read = {"source_probabilities": probabilities[:count]} if name in SOURCE_CLASS_SCORES else {}
        started = time.perf_counter()
        found = transferability(features[:count], labels[:count], scores=[name], draws=0, **read)
        taken = time.perf_counter() - started
        yield {"what": what, "s on the CPU": taken, "value": found.scores[name].value, "device path": "none"}
