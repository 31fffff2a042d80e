"""LogME here against a plain transcription of the published algorithm: time and value, in turns.

    python scripts/benchmarks/log_me_cost.py --rows 50000 --width 1280 --classes 100

The transcription is the fixed point of You et al. 2021, algorithm 1, with one singular value decomposition of the
features, then for each class iterations that multiply by the features.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from transformers import HfArgumentParser

from hf_transfer_kit.selection.measures.scores import log_me


@dataclass
class CostArguments:
    """Size of the problem."""

    rows: int = field(default=50_000, metadata={"help": "Rows."})
    width: int = field(default=1_280, metadata={"help": "Features."})
    classes: int = field(default=100, metadata={"help": "Classes."})
    rounds: int = field(default=1, metadata={"help": "Turns of both."})


def transcribed(features: np.ndarray, labels: np.ndarray) -> float:
    """Algorithm 1 as it is written."""
    features = features.astype(np.float64)
    rows, width = features.shape
    left, singular, right = np.linalg.svd(features, full_matrices=False)
    sigma = singular**2
    total = 0.0
    for label in np.unique(labels):
        target = (labels == label).astype(np.float64)
        alpha = beta = 1.0
        projected = left.T @ target
        for _ in range(1_000):
            gamma = np.sum(beta * sigma / (alpha + beta * sigma))
            mean = right.T @ (beta * singular * projected / (alpha + beta * sigma))
            residual = np.sum((features @ mean - target) ** 2)
            before = alpha / beta
            alpha = gamma / np.sum(mean**2)
            beta = (rows - gamma) / residual
            if abs(alpha / beta - before) <= 1e-8 * before:
                break
        evidence = (
            width * np.log(alpha)
            + rows * np.log(beta)
            - np.sum(np.log(alpha + beta * sigma))
            - (width - len(sigma)) * np.log(alpha)
            - beta * residual
            - alpha * np.sum(mean**2)
            - rows * np.log(2 * np.pi)
        )
        total += 0.5 * evidence / rows
    return total / len(np.unique(labels))


def main() -> None:
    (options,) = HfArgumentParser(CostArguments).parse_args_into_dataclasses()
    generator = np.random.default_rng(0)
    labels = generator.integers(options.classes, size=options.rows)
    centres = generator.normal(size=(options.classes, options.width)).astype(np.float32)
    features = np.maximum(0.3 * centres[labels] + generator.normal(size=(options.rows, options.width)), 0)
    features = features.astype(np.float32)
    seconds = {"here": [], "transcribed": []}
    for _ in range(options.rounds):
        for name, function in (("here", log_me), ("transcribed", transcribed)):
            started = time.perf_counter()
            value = function(features, labels)
            seconds[name].append(time.perf_counter() - started)
            print(f"{name}: {value:.10f} in {seconds[name][-1]:.1f} s", flush=True)
    print(f"ratio {min(seconds['transcribed']) / min(seconds['here']):.1f}")


if __name__ == "__main__":
    main()
