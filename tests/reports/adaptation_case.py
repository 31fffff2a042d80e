"""A made-up comparison of adaptation methods and its report, for tests of pages, pictures and cards."""

from __future__ import annotations

from dataclasses import replace

from reports.verdict_case import verdict

from hf_transfer_kit.reports import TransferReport
from hf_transfer_kit.reports.adaptation.words import why_not_adapted
from hf_transfer_kit.values import (
    Adaptation,
    AdaptationPoint,
    AdaptationResult,
    Diagnosis,
    FeatureMap,
    ScoreAgreement,
)

HEALTHY = Diagnosis("healthy", "Nothing that fails was seen: class loss 0.05.")
ONE_CLASS = Diagnosis("few classes take all", "Diversity is 0.21 of 1.", "Raise the <diversity> term.")

LOG = tuple(
    {
        "step": step,
        "class_loss": 1.0 / step,
        "domain_loss": 0.6,
        "domain_accuracy": 0.7,
        "source_entropy": 0.1,
        "target_entropy": 0.3,
        "target_diversity": 0.9,
        "source_feature_norm": 2.0,
        "target_feature_norm": 3.0,
        "adversarial_strength": 0.5,
        "grad_norm": 1.0,
    }
    for step in (5, 10, 15)
)


def adapted(method: str, accuracies: tuple[float, ...], **changes) -> AdaptationResult:
    """One method's result on two seeds; the spread is made up."""
    mean = sum(accuracies) / len(accuracies)
    result = AdaptationResult(
        method=method,
        summary=f"About {method}.",
        seeds=tuple(range(len(accuracies))),
        source_accuracy=0.97,
        scores={"information": 1.0 + mean, "mean_entropy": 0.25},
        test={"accuracy": mean, "macro_f1": 0.5},
        test_spread={"accuracy": 0.013, "macro_f1": 0.0},
        test_by_seed=accuracies,
        kept_steps=(10, 15),
        points=(AdaptationPoint(5, {"information": 1.0}, 0.5), AdaptationPoint(10, {"information": 1.2}, 0.6)),
        log=LOG,
        diagnoses=(HEALTHY,),
        seconds=61.25,
    )
    return replace(result, **changes)


def feature_map(title: str, *, classes: int = 3, predicted: bool = False) -> FeatureMap:
    """Per class two source rows and one target row."""
    rows = [(index, target) for index in range(classes) for target in (False, False, True)]
    points = tuple((float(index), row / 7) for row, (index, _) in enumerate(rows))
    return FeatureMap(title, points, tuple(t for _, t in rows), tuple(index for index, _ in rows), predicted)


def adaptation() -> Adaptation:
    """Four methods on a labelled target; the chosen one is healthy, another is not."""
    return Adaptation(
        source_name="mnist",
        target_name="mnist_m",
        results=(
            adapted("source_only", (0.56, 0.6)),
            adapted("dann:weight=0.5", (0.83, 0.85), verdict=verdict("dann:weight=0.5", "source_only", "helped", 0.26)),
            adapted(
                "entropy", (0.3, 0.34), diagnoses=(ONE_CLASS,), verdict=verdict("entropy", "source_only", "hurt", -0.26)
            ),
            adapted("target_labels", (0.95, 0.97), diagnoses=(), log=(), uses_target_labels=True),
        ),
        chosen="dann:weight=0.5",
        selected_by="information",
        agreements=(ScoreAgreement("information", 8, 0.012, 0.046, 7, 0.81),),
        feature_maps=(feature_map("Before"), feature_map("After")),
    )


def without_labels(labelled: Adaptation) -> Adaptation:
    """The same comparison on a target without labels."""
    nothing = {"test": {}, "test_spread": {}, "test_by_seed": (), "verdict": None}
    results = tuple(
        replace(r, **nothing, points=tuple(replace(point, accuracy=None) for point in r.points))
        for r in labelled.results
        if not r.uses_target_labels
    )
    maps = tuple(replace(found, predicted=True) for found in labelled.feature_maps)
    return replace(labelled, results=results, agreements=(), feature_maps=maps)


def report_of(adaptation: Adaptation) -> TransferReport:
    """Its report."""
    sizes = {"train": 1200, "validation": 20, "test": 30}
    labelled = any(result.test for result in adaptation.results)
    return TransferReport(
        recipe="adapt",
        metrics={"accuracy": 0.83, "macro_f1": 0.82, "loss": 0.6} if labelled else {},
        baselines={},
        plan={"method": adaptation.chosen, "selected_by": adaptation.selected_by},
        layer_groups=[{"depth": 0, "name": "stem", "parameters": 8, "trainable": 1.0, "head": False, "modules": []}],
        data={
            "modality": "image",
            "classes": ["cat", "dog", "owl"],
            "sizes": sizes,
            "fingerprints": dict.fromkeys(sizes, "f"),
            "skipped_rows": 0,
            "source": {
                "name": adaptation.source_name,
                "sizes": {"train": 5432},
                "fingerprints": {"train": "s"},
                "skipped_rows": 0,
            },
        },
        seconds={"total": 12.0},
        versions={"torch": "2"},
        seed=0,
        command="python scripts/adapt.py --source_dataset /data/alice/mnist",
        title="net from mnist to mnist_m",
        model_name="net",
        dataset_name=adaptation.target_name,
        winner=adaptation.chosen,
        budget={"steps": 15, "batch_size": 4, "seeds": [0, 1]},
        adaptation=adaptation,
        verdict=adaptation.result(adaptation.chosen).verdict,
        no_verdict=why_not_adapted(adaptation),
    )
