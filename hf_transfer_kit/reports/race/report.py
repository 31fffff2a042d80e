"""A race's outcome as a report."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.metrics import larger_is_better
from hf_transfer_kit.metrics.words import metric_words
from hf_transfer_kit.reports.described import confusion_table, described_data
from hf_transfer_kit.reports.facts import RunFacts
from hf_transfer_kit.reports.layer_rows import layer_rows
from hf_transfer_kit.reports.mistakes import worst_mistakes
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.selection import Comparison
from hf_transfer_kit.values import Mistake, SourceResult, StrategyResult


def comparison_report(
    comparison: Comparison,
    facts: RunFacts,
    *,
    data: LoadedData,
    prepared: PreparedData,
    recipe: str = "transfer",
    other_sources: tuple[SourceResult, ...] = (),
    behind: LoadedData | None = None,
    examples: bool = True,
) -> TransferReport:
    """Puts a race's outcome into a report.

    ``metrics`` are those of the saved model on the test split, ``baselines`` the test means of every other strategy.

    Args:
        comparison: The outcome of ``compare_strategies``.
        facts: What is known of the run.
        data: The splits as loaded.
        prepared: The splits as trained on.
        recipe: What was done, such as ``"transfer"``.
        other_sources: What other networks reached.
        behind: Data whose rows stand behind those of ``data`` in every split of ``prepared``, as of old classes.
        examples: Whether the page shows texts or pictures of the rows that are named wrongly.

    Example:
        >>> comparison = compare_strategies(make_model, data, ["head_only"], args, budget)
        >>> facts = RunFacts("net", "python transfer.py", budget=budget)
        >>> made = comparison_report(comparison, facts, data=loaded, prepared=data)
        >>> made.winner
        'head_only'
    """
    winner = comparison.result(comparison.winner)
    of_classes = prepared.task_type == CLASSIFICATION
    return facts.report(
        recipe,
        title=f"{facts.model_name} on {data.name}",
        dataset_name=data.name,
        metrics=dict(comparison.model_metrics),
        baselines={r.strategy: dict(r.test) for r in comparison.results if r.strategy != comparison.winner},
        plan={
            "strategy": comparison.winner,
            **facts.spent,
            "learning_rate": comparison.learning_rate,
        },
        layer_groups=layer_rows(comparison.model, comparison.rates),
        data=described_data(data, prepared),
        seconds={result.strategy: result.seconds for result in comparison.results},
        results=comparison.results,
        winner=comparison.winner,
        verdict=comparison.verdict,
        no_verdict=""
        if comparison.verdict or len(comparison.results) < 2
        else "Whether transfer helped is not judged: it takes from_scratch and a strategy that transfers beside it.",
        confusion=confusion_table(data.label_names, comparison.true, comparison.predicted) if of_classes else None,
        seeds=winner.seeds,
        notes=(
            *(majority_notes(data.label_names, comparison.true, winner) if of_classes else ()),
            *filter(None, [prepared.balance.sentence, None if of_classes else _of_task(prepared, winner.metric)]),
        ),
        mistakes=_mistakes(comparison, data, behind, examples=examples),
        depth_searches=comparison.depth_searches,
        other_sources=other_sources,
    )


def _mistakes(
    comparison: Comparison, data: LoadedData, behind: LoadedData | None, *, examples: bool
) -> tuple[Mistake, ...]:
    if comparison.probabilities is None:
        return ()
    said = comparison.true, comparison.predicted, comparison.probabilities
    return worst_mistakes(*said, data, behind=behind, examples=examples)


def majority_notes(labels: tuple[str, ...], true: np.ndarray, winner: StrategyResult) -> tuple[str, ...]:
    """Says so where one class alone, given to every test row, would be right about as often as the winner."""
    counts = np.bincount(true, minlength=len(labels))
    share = counts.max() / max(counts.sum(), 1)
    interval = winner.test_interval if winner.metric == "accuracy" else None
    low = interval[0] if interval else winner.test["accuracy"]
    if len(labels) < 2 or low > share:
        return ()
    return (
        f"The class {labels[int(counts.argmax())]!r}, given to every test row, would be right in {100 * share:.1f} % "
        f"of them; the accuracy of {winner.strategy}, {100 * winner.test['accuracy']:.1f} %, is not clearly above. "
        f"Look at macro F1 ({100 * winner.test['macro_f1']:.1f} %), and try --class_weights balanced or "
        "--metric macro_f1.",
    )


def _of_task(prepared: PreparedData, metric: str) -> str:
    """What a task that is no classification was chosen and judged by, and of numbers how they were learned."""
    way = "larger is better" if larger_is_better(metric) else "less is better"
    words = f"The task is {prepared.task_type}, chosen and judged by {metric_words(metric)} ({way})."
    if prepared.task_type != "regression":
        return words
    return (
        f"{words} Numbers are learned as they are, from a head that begins near 0: where they are far from it or much "
        "larger than 1, standardise them first."
    )


def strategy_table(report: TransferReport) -> str:
    """The table of strategies for the console, the winner marked.

    Example:
        >>> [line.split()[1] for line in strategy_table(report).splitlines() if line.startswith("*")]
        ['full']
    """
    metric = report.results[0].metric if report.results else "accuracy"
    header = f"{'strategy':<28} {'validation':>10} {'test':>7} {'spread':>7} {'trainable':>9} {'seconds':>8}"
    header += "" if metric == "accuracy" else f"  ({metric_words(metric)})"
    lines = [header]
    for result in report.results:
        share = result.trainable_parameters / max(result.total_parameters, 1)
        mark = "*" if result.strategy == report.winner else " "
        lines.append(
            f"{mark} {result.strategy:<26} {result.validation[metric]:>10.3f} {result.test[metric]:>7.3f} "
            f"{result.test_spread.get(metric, 0.0):>7.3f} {share:>9.2%} {result.seconds:>8.1f}"
        )
    return "\n".join(lines)
