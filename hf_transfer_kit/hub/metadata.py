"""The metadata of a card: what the Hub searches, links and ranks by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from hf_transfer_kit.data.embedded import EMBEDDED
from hf_transfer_kit.data.label_kinds import TOKEN_CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.reports import TransferReport
from hf_transfer_kit.reports.escaping import plain_text
from hf_transfer_kit.reports.section import CardPart, Evaluation, Found, all_sections, sections_of

PIPELINES = {"image": "image-classification", "text": "text-classification", "audio": "audio-classification"}
_OF_TASKS = {TOKEN_CLASSIFICATION: "token-classification", "ctc": "automatic-speech-recognition"}
_METRIC_TYPES = {"error_rate": "cer", "word_error_rate": "wer"}
"""Metrics that the Hub knows under another name."""
UNFINISHED = "unfinished"
"""Where a report's data tell that its run did not end."""
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|multilingual|code")
_FIGURES = ("accuracy", "macro_f1", "balanced_accuracy", "top_k_accuracy", *_METRIC_TYPES)


def card_metadata(
    report: TransferReport,
    *,
    base_model: str | None,
    license: str | None,
    language: str | Sequence[str] | None,
    datasets: Sequence[str],
    widget: Sequence[Mapping[str, Any]] | None = None,
    adapter_alone: bool = False,
) -> ModelCardData:
    """The YAML block of a card.

    Args:
        report: What was found.
        base_model: Hub name of the network whose weights the model began with, or None.
        license: Identifier of the Hub.
        language: Codes such as ``"en"``.
        datasets: Names of the data; those that are not the Hub's are left out.
        widget: Examples that the model's page offers.
        adapter_alone: Whether the repository holds an adapter without the network it changes.

    Raises:
        SettingsError: When a language is no code.
    """
    languages = checked_languages(language)
    of_hub = [name for name in dict.fromkeys(datasets) if on_hub(name) and name not in EMBEDDED]
    pipeline = pipeline_of(report)
    return ModelCardData(
        library_name="peft" if adapter_alone else "transformers",
        pipeline_tag=pipeline,
        tags=_tags(report),
        base_model=base_model,
        # An adapter may lie beside the merged weights: what the repository is loaded as is a fine-tuned network then.
        base_model_relation=("adapter" if adapter_alone else "finetune") if base_model else None,
        license=license,
        language=languages or None,
        datasets=of_hub or None,
        widget=list(widget) if widget else None,
        model_name=plain_text(report.title),
        eval_results=_results(report, pipeline, of_hub),
    )


def checked_languages(language: str | Sequence[str] | None) -> list[str]:
    """The codes as a list.

    Raises:
        SettingsError: When one is no code.
    """
    codes = [language] if isinstance(language, str) else list(language or ())
    wrong = [code for code in codes if not _LANGUAGE.fullmatch(code)]
    if wrong:
        raise SettingsError(f"{', '.join(wrong)} is no code of a language; write such as en, de, or multilingual.")
    return codes


def on_hub(name: str | None) -> bool:
    """Whether a name is the Hub's, not a path of this machine."""
    return name is not None and _HUB_NAME.fullmatch(name) is not None and not Path(name).exists()


def pipeline_of(report: TransferReport) -> str | None:
    """The pipeline that runs the model; a network of several tasks is no pipeline's, nor one whose classes change."""
    for section in all_sections():
        # A run that is not over has no findings yet.
        if not section.card.pipeline and (section.name == report.recipe or section.find(report)):
            return None
    return _OF_TASKS.get(report.data.get("task_type", ""), PIPELINES[report.data["modality"]])


def card_of(report: TransferReport) -> tuple[CardPart, Found]:
    """The first part of a card with a template of its own, and what was found; of one network on one dataset neither
    adds a thing.
    """
    for section, found in sections_of(report):
        if section.card.template:
            return section.card, found
    return CardPart(), None


def _results(report: TransferReport, pipeline: str | None, datasets: Sequence[str]) -> list[EvalResult] | None:
    """Metrics of the saved model, each with its task's data."""
    card, findings = card_of(report)
    found: Iterable[Evaluation]
    if card.results:
        found = card.results(report, findings)
    else:
        stated = (*_FIGURES, *(result.metric for result in report.results[:1]))
        task = pipeline or PIPELINES[report.data["modality"]]
        found = [
            Evaluation(task, report.dataset_name, name, value)
            for name, value in report.metrics.items()
            if name in stated
        ]
    return [
        EvalResult(
            task_type=task_type,
            # Of several datasets the last is the one that was tested on: the target.
            dataset_type=datasets[-1] if datasets and not card.several_datasets else _slug(dataset),
            dataset_name=plain_text(dataset),
            dataset_split="test",
            metric_type=_METRIC_TYPES.get(name, name),
            metric_value=round(value, 6),
        )
        for task_type, dataset, name, value in found
    ] or None


def _tags(report: TransferReport) -> list[str]:
    card, _ = card_of(report)
    kind = [card.tag] if card.tag and UNFINISHED not in report.data else []
    winner = [plain_text(report.winner.partition(":")[0])] if report.winner else []
    return ["transfer-learning", *kind, "hf_transfer_kit", *winner]


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name.lower())[:96].strip("-") or "dataset"
