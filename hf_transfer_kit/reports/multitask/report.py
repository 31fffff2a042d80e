"""A comparison of ways to train several tasks as a report and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.reports.facts import RunFacts
from hf_transfer_kit.reports.multitask.words import mean_and_spread, why_not_together
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.values import MultiTasking, TaskDescription


def multitask_report(
    found: MultiTasking,
    model: nn.Module,
    facts: RunFacts,
    *,
    modality: str,
    model_metrics: Mapping[str, Mapping[str, float]],
) -> TransferReport:
    """Puts a comparison into a report.

    ``metrics`` are those of the saved model, ``baselines`` the test means of every other method, both as
    ``TASK_METRIC``.

    Args:
        found: What was found.
        model: One task of the saved model as a plain checkpoint, for the table of its layer groups.
        facts: What is known of the run.
        modality: What the first task reads.
        model_metrics: Task -> metrics of the saved model on test rows.

    Example:
        >>> facts = RunFacts("net", "python multitask.py", budget=budget, learning_rate=1e-3)
        >>> metrics = {"topic": {"accuracy": 0.74}, "spelling": {"error_rate": 0.3}, "score": {"spearman": 0.51}}
        >>> made = multitask_report(multitasking, model, facts, modality="text", model_metrics=metrics)
        >>> made.metrics["topic_accuracy"]
        0.74
    """
    chosen = found.result(found.chosen)
    others = [result for result in found.results if result.method != found.chosen]
    return facts.report(
        "multitask",
        title=f"{facts.model_name} for {', '.join(task.name for task in found.tasks)}",
        dataset_name=", ".join(dict.fromkeys(task.dataset for task in found.tasks)),
        metrics={f"{task}_{name}": value for task, values in model_metrics.items() for name, value in values.items()},
        baselines={
            result.method: {f"{t.name}_{t.metric}": result.figures[t.name].test for t in found.tasks}
            for result in others
        },
        plan={
            "method": found.chosen,
            **facts.spent,
            "max_steps": chosen.steps,
            "own layer groups of each input": chosen.shared_from,
        },
        layer_groups=layer_groups(model).rows(),
        data={
            "modality": modality,
            "tasks": {task.name: {"sizes": task.sizes, "fingerprints": task.fingerprints} for task in found.tasks},
        },
        seconds={result.method: result.seconds for result in found.results},
        winner=found.chosen,
        seeds=chosen.seeds,
        multitasking=found,
        no_verdict=why_not_together(found),
    )


def described_tasks(tasks: Sequence[TaskDescription], modality: str) -> dict[str, Any]:
    """What a comparison that is not over says of its data: sizes and fingerprints of every task's splits.

    Args:
        tasks: In their order.
        modality: What the first of them reads.

    Example:
        >>> sorted(described_tasks(multitasking.tasks, "text"))
        ['classes', 'fingerprints', 'modality', 'sizes', 'skipped_rows']
    """
    return {
        "modality": modality,
        "classes": [],  # each task has its own
        "sizes": {f"{task.name}, {split}": size for task in tasks for split, size in task.sizes.items()},
        "fingerprints": {f"{task.name}, {split}": mark for task in tasks for split, mark in task.fingerprints.items()},
        "skipped_rows": 0,
    }


def multitask_table(found: MultiTasking) -> str:
    """The table of methods for the console, the chosen one marked; test metrics, a dash where nothing is known.

    Example:
        >>> [line.split()[1] for line in multitask_table(multitasking).splitlines() if line.startswith("*")]
        ['multitask:shared_from=0']
    """
    dash = "\N{EN DASH}"
    width = max(len("method"), *(len(result.method) for result in found.results))
    heads = [f"{task.name} ({task.metric})" for task in found.tasks]
    columns = [max(16, len(head)) for head in heads]
    title = "  ".join(f"{head:>{size}}" for head, size in zip(heads, columns, strict=True))
    lines = [f"  {'method':<{width}}  {title}  {'gain over alone':>15}  {'forgetting':>10}  {'seconds':>8}"]
    for result in found.results:
        mark = "*" if result.method == found.chosen else " "
        cells = "  ".join(
            f"{mean_and_spread(task, result.figures[task.name]):>{size}}"
            for task, size in zip(found.tasks, columns, strict=True)
        )
        gain = dash if result.delta_m is None else f"{100 * result.delta_m:+.1f} %"
        lost = dash if result.forgetting is None else f"{100 * result.forgetting:+.1f}"
        lines.append(f"{mark} {result.method:<{width}}  {cells}  {gain:>15}  {lost:>10}  {result.seconds:>8.1f}")
    return "\n".join(lines)
