"""A made-up comparison of ways to name classes never seen, for tests of pages, pictures and cards."""

from __future__ import annotations

from types import SimpleNamespace

from hf_transfer_kit.reports import RunFacts, TransferReport, zero_shot_report
from hf_transfer_kit.values import (
    AttributeFigure,
    ConfusionTable,
    SeenUnseenLine,
    UnseenClasses,
    UnseenFigures,
    ZeroShotResult,
)

CLASSES = ("horse", "zebra", "eagle", "wasp", "owl", "ant")


def split(unseen: float, harmonic: float = 0.5) -> UnseenFigures:
    return UnseenFigures(
        unseen_accuracy=unseen,
        generalised_seen_accuracy=0.6,
        generalised_unseen_accuracy=0.4,
        harmonic_mean=harmonic,
        uncalibrated={"generalised_seen_accuracy": 0.9, "generalised_unseen_accuracy": 0.05, "harmonic_mean": 0.095},
        ausuc=0.45,
        gamma=0.21,
        options={"penalty": 0.1},
        pseudo_harmonic=0.55,
    )


def result(method: str, *unseen: float, table: str = "attributes") -> ZeroShotResult:
    return ZeroShotResult(method, f"What {method} does.", table, tuple(map(split, unseen)), 2.5)


def unseen_classes(**changes) -> UnseenClasses:
    given = {
        "classes": CLASSES,
        "attributes": ("stripes", "hooves", "flies"),
        "values": ((0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 0, 1), (0, 0, 0.5)),
        "unseen": (("zebra", "owl"), ("wasp", "ant"), ("horse", "eagle")),
        "results": (
            result("eszsl", 0.8, 0.7, 0.75),
            result("dap", 0.5, 0.45, 0.6),
            result("eszsl", 0.4, 0.6, 0.5, table="names"),
        ),
        "chosen": "eszsl",
        "chance": 0.5,
        "lookup": 0.9,
        "labelled": (0.95, 0.97, 0.99),
        "lines": (
            SeenUnseenLine("eszsl", (0.9, 0.6, 0.0), (0.0, 0.4, 0.8), (0.6, 0.4)),
            SeenUnseenLine("dap", (0.8, 0.0), (0.1, 0.5), (0.8, 0.1)),
        ),
        "confusion": ConfusionTable(("zebra", "owl"), ((8, 2), (3, 7))),
        "attribute_figures": (AttributeFigure("flies", 0.9, 0.5), AttributeFigure("stripes", 0.4, 0.25)),
        "explanations": ("A row of zebra: zebra rather than horse: for stripes (+0.3)",),
        "findings": ("'owl' and 'eagle' have equal rows, so nothing can tell them apart.",),
    }
    return UnseenClasses(**{**given, **changes})


def report_of(found: UnseenClasses, **changes) -> TransferReport:
    data = SimpleNamespace(
        name="beasts", modality="image", label_names=CLASSES, skipped_rows=0,
        sizes=lambda: {"train": 1200, "test": 60}, fingerprints=lambda: {"train": "ab", "test": "cd"},
    )  # fmt: skip
    groups = [{"depth": 0, "name": "stem", "parameters": 10, "trainable": 1.0, "head": False}]
    known = {
        "model_name": "net", "command": "python scripts/zero_shot.py --dataset ../../home/alice/beasts",
        "seconds": {"total": 12.0},
    }  # fmt: skip
    facts = RunFacts(**{**known, **{name: changes.pop(name) for name in ("model_name", "notes") if name in changes}})
    given = {"pretrained": True, "data": data, "trained": 0}
    metrics = {"unseen_accuracy": 0.8, "harmonic_mean": 0.48, "ausuc": 0.45}
    return zero_shot_report(found, metrics, groups, facts, **{**given, **changes})
