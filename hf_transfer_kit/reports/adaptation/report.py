"""A comparison of adaptation methods as a report and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.reports.adaptation.words import better_but_not_kept, why_not_adapted
from hf_transfer_kit.reports.described import described_data
from hf_transfer_kit.reports.facts import RunFacts
from hf_transfer_kit.reports.layer_rows import layer_rows
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.values import Adaptation, ConfusionTable


def adaptation_report(
    adaptation: Adaptation,
    model: nn.Module,
    facts: RunFacts,
    *,
    data: LoadedData,
    source: LoadedData | None,
    prepared: PreparedData,
    model_metrics: Mapping[str, float] | None = None,
    rates: Mapping[str, float] | None = None,
    confusion: ConfusionTable | None = None,
) -> TransferReport:
    """Puts a comparison into a report.

    ``metrics`` are those of the saved model on the target's test rows, ``baselines`` the test means of every other
    method; both are empty where the target has no labels.

    Args:
        adaptation: What was found.
        model: The saved classifier, without the method beside it, for the table of its layer groups.
        facts: What is known of the run.
        data: The target's splits as loaded.
        source: The source's splits as loaded; None where they could not be had.
        prepared: The target's splits as trained on.
        model_metrics: Of the saved model on the target's test rows; None where they have no labels.
        confusion: Of the saved model on the target's test rows; None where they have no labels.
        rates: Parameter's name in the classifier -> highest rate that it learned with; None: not known.

    Example:
        >>> facts = RunFacts("net", "python adapt.py", budget=budget, learning_rate=1e-3)
        >>> made = adaptation_report(
        ...     adaptation, model, facts, data=loaded, source=loaded, prepared=prepare_data(loaded, processor),
        ...     model_metrics={"accuracy": 0.83},
        ... )
        >>> made.winner, made.metrics
        ('dann:weight=0.5', {'accuracy': 0.83})
    """
    chosen = adaptation.result(adaptation.chosen)
    others = [result for result in adaptation.results if result.method != adaptation.chosen]
    config: Any = model.config
    return facts.report(
        "adapt",
        title=f"{facts.model_name} from {adaptation.source_name} to {adaptation.target_name}"
        if source
        else f"{adaptation.source_name} to {adaptation.target_name}",
        dataset_name=adaptation.target_name,
        metrics=dict(model_metrics or {}),
        baselines={result.method: dict(result.test) for result in others if result.test},
        plan={
            "method": adaptation.chosen,
            **facts.spent,
            "selected_by": adaptation.selected_by,
        },
        layer_groups=layer_rows(model, rates),
        data={
            **described_data(data, prepared),
            "classes": [config.id2label[index] for index in range(config.num_labels)],
            "source": {
                "name": adaptation.source_name,
                "sizes": source.sizes() if source else {},
                "fingerprints": source.fingerprints() if source else {},
                "skipped_rows": source.skipped_rows if source else 0,
            },
        },
        seconds={result.method: result.seconds for result in adaptation.results},
        winner=adaptation.chosen,
        seeds=chosen.seeds,
        notes=better_but_not_kept(adaptation),
        confusion=confusion,
        adaptation=adaptation,
        verdict=chosen.verdict,
        no_verdict=why_not_adapted(adaptation),
    )


def adaptation_table(adaptation: Adaptation) -> str:
    """The table of methods for the console, the chosen one marked; a dash where labels or the score are missing.

    Example:
        >>> [line.split()[1] for line in adaptation_table(adaptation).splitlines() if line.startswith("*")]
        ['dann:weight=0.5']
    """
    score, dash = adaptation.selected_by, "\N{EN DASH}"
    width = max(len(result.method) for result in adaptation.results)
    lines = [f"  {'method':<{width}} {'source val.':>11} {score:>15} {'target test':>15} {'seconds':>8}"]
    for result in adaptation.results:
        mark = "*" if result.method == adaptation.chosen else " "
        value = f"{result.scores[score]:.3f}" if score in result.scores else dash
        test = f"{result.test['accuracy']:.3f}" if result.test else dash
        if result.test and len(result.seeds) > 1:
            test += f" ± {result.test_spread['accuracy']:.3f}"
        source = dash if result.source_accuracy is None else f"{result.source_accuracy:.3f}"
        lines.append(f"{mark} {result.method:<{width}} {source:>11} {value:>15} {test:>15} {result.seconds:>8.1f}")
    return "\n".join(lines)
