"""The model card of a transferred model: what was transferred from where, and what it gained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

import hf_transfer_kit
from hf_transfer_kit.hub.command import without_local_paths
from hf_transfer_kit.reports import TransferReport, adaptation_words, multitask_words, zero_shot_words

_PIPELINES = {"image": "image-classification", "text": "text-classification", "audio": "audio-classification"}
_ARGUMENTS = {"image": '"photo.jpg"', "text": '"a sentence"', "audio": '"speech.wav"'}
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class TransferCard(ModelCard):
    """A model card made from a report. Needs no network."""

    @classmethod
    def from_report(
        cls,
        report: TransferReport,
        *,
        base_model: str | None = None,
        license: str | None = None,
        language: str | Sequence[str] | None = None,
        datasets: Sequence[str] = (),
    ) -> TransferCard:
        """Builds the card.

        Args:
            report: What was found.
            base_model: Hub name of the pretrained network; a local path is left out.
            license: Licence of the new model.
            language: Of the data.
            datasets: Hub names of the data.
        """
        on_hub = base_model is not None and _HUB_NAME.fullmatch(base_model) and not Path(base_model).exists()
        # A network of several tasks is no pipeline's, nor is one whose classes change.
        pipeline = None if report.multitasking or report.zero_shot else _PIPELINES[report.data["modality"]]
        data = ModelCardData(
            library_name="transformers",
            pipeline_tag=pipeline,
            tags=_tags(report),
            base_model=base_model if on_hub else None,
            base_model_relation="finetune" if on_hub else None,
            license=license,
            language=language,
            datasets=list(datasets) or None,
            model_name=report.title,
            eval_results=_results(report, pipeline, datasets),
        )
        text = (
            _environment()
            .get_template(_template(report))
            .render(
                card_data=data.to_yaml(),
                report=report,
                source=f"[{base_model}](https://huggingface.co/{base_model})" if on_hub else f"`{report.model_name}`",
                command=without_local_paths(report.command),
                usage=usage_snippet(pipeline, _ARGUMENTS[report.data["modality"]]) if pipeline else "",
                **(adaptation_words(report.adaptation) if report.adaptation else {}),
                **(multitask_words(report.multitasking) if report.multitasking else {}),
                **(zero_shot_words(report.zero_shot) if report.zero_shot else {}),
            )
        )
        return cls(text, ignore_metadata_errors=False)


def usage_snippet(pipeline: str, argument: str) -> str:
    """Python that loads and asks the model, to be run in its folder or with its Hub name in place of ``"."``."""
    return (
        "from transformers import pipeline\n\n"
        f'classifier = pipeline("{pipeline}", model=".")  # or the name of this repository\n'
        f"print(classifier({argument}))"
    )


@cache
def _environment() -> Environment:
    package = Path(hf_transfer_kit.__file__).parent
    environment = Environment(
        # In a wheel the templates lie inside the package, in a checkout beside it.
        loader=ChoiceLoader([FileSystemLoader(folder / "model_cards") for folder in (package, package.parent)]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value, digits=1: f"{100 * value:.{digits}f} %"
    environment.filters["thousands"] = lambda value: f"{value:,}"
    return environment


def _template(report: TransferReport) -> str:
    recipe = next((name for name, found in _kinds(report).items() if found), "base")
    return f"{recipe}.md.jinja"


def _kinds(report: TransferReport) -> dict[str, object]:
    """Template of each recipe that has one of its own -> what it found, or None."""
    return {"adaptation": report.adaptation, "multitask": report.multitasking, "zero_shot": report.zero_shot}


def _results(report: TransferReport, pipeline: str | None, datasets: Sequence[str]) -> list[EvalResult] | None:
    """Metrics of the saved model, each with its task's data."""
    if report.multitasking:
        found = [
            (task.type.replace("_", "-"), task.dataset, task.metric, report.metrics[f"{task.name}_{task.metric}"])
            for task in report.multitasking.tasks
        ]
    else:
        found = [
            (pipeline or f"zero-shot-{_PIPELINES[report.data['modality']]}", report.dataset_name, name, value)
            for name, value in report.metrics.items()
            if name in ("accuracy", "macro_f1", "top_k_accuracy", "unseen_accuracy", "harmonic_mean")
        ]
    return [
        EvalResult(
            task_type=task_type,
            dataset_type=datasets[0] if datasets and not report.multitasking else _slug(dataset),
            dataset_name=dataset,
            dataset_split="test",
            metric_type=name,
            metric_value=round(value, 6),
        )
        for task_type, dataset, name, value in found
    ] or None


def _tags(report: TransferReport) -> list[str]:
    names = {"adaptation": "domain-adaptation", "multitask": "multi-task", "zero_shot": "zero-shot"}
    kind = [names[recipe] for recipe, found in _kinds(report).items() if found]
    return ["transfer-learning", *kind, "hf_transfer_kit", str(report.winner).partition(":")[0]]


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name.lower()).strip("-") or "dataset"
