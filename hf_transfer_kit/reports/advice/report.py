"""Advice as a report: nothing was trained, so there are no metrics, and ``plan`` holds what to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.data import LoadedData
from hf_transfer_kit.reports.facts import RunFacts
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.suspected import located
from hf_transfer_kit.selection.advice import Experience
from hf_transfer_kit.selection.advice.cases import evaluated
from hf_transfer_kit.values import Advice, CasePoint, Recommendation, SourceRanking


def without_folders(ranking: SourceRanking) -> SourceRanking:
    """The ranking with local folders named by their last part, in reasons too: where they lie is nobody's business."""
    names = [*(source.name for source in ranking.sources), *ranking.skipped]
    shown = {name: Path(name).name if Path(name).exists() or Path(name).is_absolute() else name for name in names}
    return replace(
        ranking,
        sources=tuple(replace(source, name=shown[source.name]) for source in ranking.sources),
        skipped={shown[name]: reason.replace(name, shown[name]) for name, reason in ranking.skipped.items()},
    )


def advice_report(
    recommendation: Recommendation,
    experience: Experience,
    model: nn.Module,
    facts: RunFacts,
    *,
    data: LoadedData,
    ranking: SourceRanking | None,
) -> TransferReport:
    """Puts a plan, and the ranking before it, into a report.

    Args:
        recommendation: The plan.
        experience: The cases it rests on.
        model: The network, for the table of its layer groups.
        facts: What is known of the run.
        data: The splits as loaded.
        ranking: Of several networks, or None.

    Example:
        >>> plan = recommend(model, prepare_data(loaded, processor))
        >>> facts = RunFacts("net", "python advise.py")
        >>> made = advice_report(plan, experience, model, facts, data=loaded, ranking=None)
        >>> made.plan == plan.plan, made.metrics
        (True, {})
    """
    tried = recommendation.trials
    evaluation: Mapping[str, Any] = experience.evaluation
    lost = {name: evaluation["mean_regret"][name] for name in ("advice", "full")}
    joined = evaluated(experience, trials=True) if tried else {}
    if joined:
        lost["advice"] = joined["mean_regret"]
    advice = Advice(
        recommendation=recommendation,
        many_rows=experience.settings.many_rows,
        similar_gain=experience.settings.similar_gain,
        cases=tuple(
            CasePoint(f"{case.source} on {case.target}", case.measures.rows_per_class, case.measures.gain, case.best)
            for case in experience.cases
        ),
        within_a_point=(joined or evaluation)["within_a_point"],
        mean_lost=lost,
        ranking=None if ranking is None else without_folders(ranking),
    )
    return facts.report(
        "advise",
        title=f"How to transfer {facts.model_name} to {data.name}",
        dataset_name=data.name,
        plan=recommendation.plan,
        layer_groups=layer_groups(model).rows(),
        data={
            "modality": data.modality,
            "sizes": data.sizes(),
            "fingerprints": data.fingerprints(),
            "classes": list(data.label_names),
            "skipped_rows": data.skipped_rows,
        },
        winner=recommendation.strategy,
        notes=(
            f"{'Nothing but short trials was' if tried else 'Nothing was'} trained here. hf-transfer finetune --config "
            "plan.yaml runs the plan; hf-transfer run compares strategies on this very data.",
        ),
        advice=advice,
        suspected=located(recommendation.measures.suspected, data),
    )
