"""What a run found, as plain data: report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hf_transfer_kit.plain_tables import html_text
from hf_transfer_kit.values import (
    Adaptation,
    Advice,
    ConfusionTable,
    DepthSearch,
    Generalisation,
    Growing,
    Mistake,
    MultiTasking,
    RunFigures,
    SourceResult,
    StrategyResult,
    SuspectedLabel,
    UnseenClasses,
    Verdict,
)
from hf_transfer_kit.values.reading import read_value

_LIBRARIES = ("hf_transfer_kit", "torch", "transformers", "datasets", "accelerate", "timm", "scikit-learn")


@dataclass(frozen=True)
class TransferReport:
    """A run's findings. The first ten fields are the contract of report.json that every recipe keeps.

    Args:
        recipe: What was done, such as ``"transfer"``.
        metrics: Metric name -> value on the test split, fractions in [0, 1].
        baselines: Strategy -> the same.
        plan: The chosen settings.
        layer_groups: Rows of ``LayerGroups.rows()``.
        data: Sizes, classes, fingerprints.
        seconds: Wall time by phase, ``total`` among them.
        versions: Library -> version.
        seed: The first seed.
        command: The command that reproduces the run.
        title: For people.
        model_name: The pretrained network.
        dataset_name: The target data.
        results: One entry a strategy.
        winner: The chosen strategy, or the chosen method of adaptation.
        verdict: Whether transfer, or the chosen method, helped; of several tasks each result has its own.
        no_verdict: Why there is none, in a sentence; empty where there is one, or nothing was compared.
        confusion: Of the saved model on the test split.
        budget: What each run spent.
        notes: Warnings and limits for people.
        depth_searches: How many layers to freeze, where that was searched for.
        adaptation: What methods of adaptation reached, where the target was learnt without its labels.
        generalisation: What methods for several sources reached on domains that they never saw.
        multitasking: What several tasks on one trunk reached.
        zero_shot: How classes never seen were named.
        advice: What is advised before anything is trained.
        other_sources: What other pretrained networks reached under the same budget.
        runs: Every figure of every run of a comparison; ``results.csv`` holds the same.
        suspected: Training rows whose label the others contradict, where a probe was fitted.
        mistakes: Test rows that the saved model names wrongly, and is surest of; what is in them stays out of
            report.json.
        growing: What is left of the classes that a network came with, where it learned more beside them.
        watt_hours: What the machine counted of the processor's energy; None where it does not count.

    Example:
        >>> report = TransferReport(
        ...     recipe="transfer", metrics={"accuracy": 0.75}, baselines={}, plan=None, layer_groups=None,
        ...     data={"modality": "image", "classes": ["a", "b"], "sizes": {}, "fingerprints": {}, "skipped_rows": 0},
        ...     seconds={"total": 12.0}, versions={}, seed=0, command="python transfer.py",
        ... )
        >>> write_report(".", report)
    """

    recipe: str
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    plan: Mapping[str, Any] | None
    layer_groups: list[dict[str, Any]] | None
    data: Mapping[str, Any]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    seed: int
    command: str
    title: str = ""
    model_name: str = ""
    dataset_name: str = ""
    results: tuple[StrategyResult, ...] = ()
    winner: str | None = None
    verdict: Verdict | None = None
    confusion: ConfusionTable | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    depth_searches: tuple[DepthSearch, ...] = ()
    adaptation: Adaptation | None = None
    multitasking: MultiTasking | None = None
    zero_shot: UnseenClasses | None = None
    advice: Advice | None = None
    other_sources: tuple[SourceResult, ...] = ()
    watt_hours: float | None = None
    suspected: tuple[SuspectedLabel, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    runs: tuple[RunFigures, ...] = ()
    generalisation: Generalisation | None = None
    growing: Growing | None = None
    no_verdict: str = ""

    def _repr_html_(self) -> str:
        """For notebooks: what the console shows."""
        from hf_transfer_kit.reports.console import report_text  # which reads sections, and these read reports

        lines = "\n".join(map(html_text, report_text(self).split("\n")))
        return f'<pre style="background:none;color:inherit">{lines}</pre>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The same, and as text for IPython without a browser."""
        from hf_transfer_kit.reports.console import report_text

        return {"text/plain": report_text(self), "text/html": self._repr_html_()}

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON data, without texts and pictures of rows."""
        found = asdict(self)
        for mistake in found["mistakes"]:
            del mistake["text"], mistake["picture"]
        return found


def read_report(path: str | Path) -> TransferReport:
    """Reads a report.json back; fields that reports of older versions lack keep their defaults.

    Example:
        >>> write_report(".", report)
        >>> read_report("report.json") == report
        True
    """
    return read_value(TransferReport, json.loads(Path(path).read_text()))


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on.

    Example:
        >>> sorted(library_versions())[:3]
        ['accelerate', 'datasets', 'hf_transfer_kit']
    """
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
