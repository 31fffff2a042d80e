"""Python for a card's reader: it runs as it stands, in the model's folder or with the repository's name."""

from __future__ import annotations

from hf_transfer_kit.hub.metadata import pipeline_of
from hf_transfer_kit.reports import TransferReport

_ARGUMENTS = {"image": '"photo.jpg"', "text": '"a sentence"', "audio": '"speech.wav"'}
_OPTIONS = {"text": ", truncation=True"}  # at the length that was measured
_HERE = 'name = "."  # this folder, or the name of its repository'


def usage_snippet(report: TransferReport, *, module: str | None = None) -> str:
    """Loads the model and asks it.

    Args:
        report: Says what the model is.
        module: Module of the kit that defines the model's class; None for a class of transformers.
    """
    registers = f"import {module}  # registers the class of the model\n" if module else ""
    if report.multitasking:
        first = report.multitasking.tasks[0].name
        return (
            "import hf_transfer_kit.multitask  # registers the class of the model\n"
            "from transformers import AutoModel\n\n"
            f"{_HERE}\n"
            "model = AutoModel.from_pretrained(name).eval()\n"
            f'plain = model.export("{first}")  # one task as an ordinary checkpoint\n'
            "print(type(plain).__name__, plain.config.num_labels)"
        )
    if report.zero_shot:
        return (
            "import hf_transfer_kit.zero_shot  # registers the class of the model\n"
            "from transformers import AutoModel\n\n"
            f"{_HERE}\n"
            "model = AutoModel.from_pretrained(name).eval()\n"
            "print(model.table.attributes)\n"
            "row = dict.fromkeys(model.table.attributes, 0.0) | {model.table.attributes[0]: 1.0}\n"
            'model.set_classes({"a new class": row})\n'
            "print(model.config.id2label)"
        )
    return (
        f"{registers}from transformers import pipeline\n\n"
        f"{_HERE}\n"
        f'classifier = pipeline("{pipeline_of(report)}", model=name)\n'
        f"print(classifier({_ARGUMENTS[report.data['modality']]}{_OPTIONS.get(report.data['modality'], '')}))"
    )


def adapter_snippet(report: TransferReport, base_model: str | None, *, alone: bool = False) -> str | None:
    """Puts the adapter alone on its base; None where the run left none, or its base is not on the Hub.

    Args:
        report: Of the run.
        base_model: Hub name of the network that it changes.
        alone: Whether the adapter is all that the repository holds. There is a snippet then in any case, with the
            base's name for people where it is not on the Hub.
    """
    if not alone and (base_model is None or not str(report.winner).startswith("lora")):
        return None
    place = "" if alone else ', subfolder="adapter"'
    return (
        "from hf_transfer_kit import load_model\n"
        "from peft import PeftModel\n\n"
        f"{_HERE}\n"
        f'base = load_model("{base_model or report.model_name}", num_labels={len(report.data["classes"])})\n'
        f"model = PeftModel.from_pretrained(base, name{place}).eval()\n"
        "print(model.active_adapter)"
    )


def at_repository(card: str, repo_id: str) -> str:
    """The card with snippets that load from the repository."""
    return card.replace(_HERE, f'name = "{repo_id}"')
