"""A made-up comparison of ways to train several tasks and its report, for tests of pages, pictures and cards."""

from __future__ import annotations

import numpy as np
from reports.verdict_case import verdict

from hf_transfer_kit.reports import TransferReport
from hf_transfer_kit.values import MultiTasking, MultiTaskResult, TaskDescription, TaskFigure

SIZES = {"train": 1200, "validation": 30, "test": 40}
TASKS = (
    TaskDescription("topic", "classification", "news", "default", 4, "accuracy", True, SIZES, {}),
    TaskDescription("spelling", "ctc", "speech", "default", 28, "error_rate", False, SIZES, {}),
    TaskDescription("score", "regression", "news", "default", 1, "spearman", True, SIZES, {}),
)
LOG = tuple(
    {"step": step, "loss": 3.0, "loss_topic": 1 / step, "loss_spelling": 2 / step, "loss_score": 0.5,
     "weight_topic": 1.0 + step / 10, "weight_spelling": 1.0, "weight_score": 1.0}
    for step in (5, 10, 15)
)  # fmt: skip
AFFINITY = ((1.0, -0.25, None), (-0.25, 1.0, 0.4), (None, 0.4, 1.0))


def figure(*values: float) -> TaskFigure:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return TaskFigure(validation=0.5, test=float(np.mean(values)), spread=spread, by_seed=values)


def result(method: str, topic, spelling, score, **changes) -> MultiTaskResult:
    figures = {"topic": figure(*topic), "spelling": figure(*spelling), "score": figure(*score)}
    seeds = tuple(range(len(topic)))
    return MultiTaskResult(method, f"What {method} does.", seeds, figures, seconds=2.5, steps=30, **changes)


def multitasking(**changes) -> MultiTasking:
    """Alone, together with two depths, after the source task; topic is helped, spelling hurt, score is undecided."""
    results = (
        result("single", (0.70, 0.72), (0.20, 0.22), (0.500, 0.600)),
        result(
            "multitask:shared_from=0", (0.74, 0.75), (0.30, 0.29), (0.51, 0.58), delta_m=-0.12, log=LOG,
            affinity=AFFINITY, forgetting=-0.035, forgetting_by_seed=(-0.04, -0.03), delta_m_by_seed=(-0.1, -0.14),
            verdicts={
                "topic": verdict("multitask:shared_from=0", "single", "helped", 0.035, about="topic"),
                "spelling": verdict(
                    "multitask:shared_from=0", "single", "hurt", 0.085, about="spelling", metric="error_rate",
                    larger_is_better=False,
                ),
                "score": verdict("multitask:shared_from=0", "single", "undecided", -0.005, about="score", metric="spearman"),
            },
        ),
        result(
            "multitask:shared_from=2", (0.73, 0.74), (0.25, 0.26), (0.50, 0.57), delta_m=-0.1, shared_from=2,
            forgetting=0.02, forgetting_by_seed=(0.02, 0.02),
        ),
    )  # fmt: skip
    given = {
        "tasks": TASKS,
        "results": results,
        "chosen": "multitask:shared_from=0",
        "source_task": "topic",
        "before": figure(0.70, 0.72),
    }
    return MultiTasking(**{**given, **changes})


def report_of(found: MultiTasking) -> TransferReport:
    return TransferReport(
        recipe="multitask",
        metrics={"topic_accuracy": 0.74, "spelling_error_rate": 0.3, "score_spearman": 0.51, "topic_loss": 1.0},
        baselines={},
        plan={"method": found.chosen},
        layer_groups=[],
        data={"modality": "text", "tasks": {}},
        seconds={"total": 9.0},
        versions={"torch": "2"},
        seed=0,
        command="python scripts/multitask.py --config ../../home/alice/tasks.yaml",
        title="net for topic, spelling, score",
        model_name="net",
        dataset_name="news, speech",
        winner=found.chosen,
        budget={"steps": 15, "batch_size": 8, "seeds": list(found.result(found.chosen).seeds)},
        multitasking=found,
    )
