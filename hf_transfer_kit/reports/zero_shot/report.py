"""A comparison of ways to name classes never seen, as a report and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_transfer_kit.data import LoadedData
from hf_transfer_kit.reports.facts import RunFacts
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.zero_shot.words import why_not_named
from hf_transfer_kit.values import UnseenClasses

_FIGURES = ("unseen_accuracy", "generalised_seen_accuracy", "generalised_unseen_accuracy", "harmonic_mean", "ausuc")


def zero_shot_report(
    found: UnseenClasses,
    metrics: Mapping[str, float],
    layer_groups: list[dict[str, Any]],
    facts: RunFacts,
    *,
    pretrained: bool,
    data: LoadedData,
    trained: int,
) -> TransferReport:
    """Puts a comparison into a report.

    ``metrics`` are those of the saved model on the first split, ``baselines`` the means over the splits of every other
    method.

    Args:
        found: What was found.
        metrics: Of the saved model on test rows.
        layer_groups: Rows of ``LayerGroups.rows()`` of the saved model; of a frozen network the head alone learned.
        facts: What is known of the run.
        pretrained: Whether it begins with weights learned elsewhere, which may know the unseen classes.
        data: The data.
        trained: Steps that the network was trained on seen classes; 0 where it was frozen.

    Example:
        >>> facts, groups = RunFacts("net", "python zero_shot.py"), layer_groups(model).rows()
        >>> made = zero_shot_report(
        ...     unseen_classes, {"unseen_accuracy": 0.8}, groups, facts, pretrained=True, data=loaded, trained=0
        ... )
        >>> made.metrics
        {'unseen_accuracy': 0.8}
    """
    chosen = found.result(found.chosen)
    first = chosen.splits[0]
    known = (
        (
            f"What {facts.model_name} was pretrained on may show the very classes that are called unseen here, so this "
            "judges how attributes are read and looked up, not the network's own knowledge.",
        )
        if pretrained
        else ()
    )
    taught = (
        (
            "The network was trained on all seen classes, so those that played unseen ones were known to it when "
            "options and calibration were chosen: they may suit classes that are truly unseen less well.",
        )
        if trained
        else ()
    )
    return facts.report(
        "zero_shot",
        title=f"{facts.model_name} for classes of {data.name} never seen",
        dataset_name=data.name,
        metrics=dict(metrics),
        baselines={
            result.name: {figure: result.mean(figure) for figure in _FIGURES}
            for result in found.results
            if result.name != found.chosen
        },
        plan={
            "method": found.chosen,
            **{f"{chosen.method} {name}": value for name, value in first.options.items()},
            "gamma": round(first.gamma, 6),
            "unseen classes of the saved model": ", ".join(found.unseen[0]),
            "network": f"trained for {trained} steps on seen classes" if trained else "frozen",
        },
        layer_groups=layer_groups if trained else [_frozen(row) for row in layer_groups],
        data={
            "modality": data.modality,
            "sizes": data.sizes(),
            "fingerprints": data.fingerprints(),
            "classes": list(data.label_names),
            "skipped_rows": data.skipped_rows,
        },
        seconds={result.name: result.seconds for result in found.results},
        winner=found.chosen,
        budget={"splits": len(found.unseen)},
        notes=(*known, *taught),
        zero_shot=found,
        verdict=found.verdict,
        no_verdict=why_not_named(found),
    )


def _frozen(row: dict[str, Any]) -> dict[str, Any]:
    return row if row["head"] else {**row, "trainable": 0.0}


def zero_shot_table(found: UnseenClasses) -> str:
    """The table of methods for the console, the chosen one marked; test rows, mean and spread over the splits.

    Example:
        >>> [line.split()[1] for line in zero_shot_table(unseen_classes).splitlines() if line.startswith("*")]
        ['eszsl']
    """
    return found.table().text()
