"""Python for a card's reader: it runs as it stands, in the model's folder or with the repository's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hf_transfer_kit.backbones.auto_classes import TASK_CLASSES, classifier_class
from hf_transfer_kit.hub.metadata import card_of, pipeline_of
from hf_transfer_kit.reports import TransferReport
from hf_transfer_kit.reports.escaping import quoted

_ARGUMENTS = {"image": '"photo.jpg"', "text": '"a sentence"', "audio": '"speech.wav"'}
_OPTIONS = {"text": ", truncation=True"}  # at the length that was measured
_HERE = 'name = "."  # this folder, or the name of its repository'


def usage_snippet(report: TransferReport, *, module: str | None = None, raw_inputs: bool = False) -> str:
    """Loads the model and asks it.

    Args:
        report: Says what the model is.
        module: Module of the kit that defines the model's class; None for a class of transformers.
        raw_inputs: Whether inputs.json lies beside the model, so that files can be given to it.
    """
    snippet = _snippet(report, module, raw_inputs)
    if not raw_inputs:
        return snippet
    asked = _ARGUMENTS[report.data["modality"]]
    return f"{snippet}\n# files, folders and tables at once: hf_transfer_kit.load_transferred(name)({asked})"


def _snippet(report: TransferReport, module: str | None, raw_inputs: bool) -> str:
    registers = f"import {module}  # registers the class of the model\n" if module else ""
    data = report.data
    asked = _ARGUMENTS[data["modality"]]
    card, found = card_of(report)
    if card.usage:
        own = card.usage(found, asked)
        asking = _best_of(asked) if own.asking is None else own.asking
        registers = f"import {own.module}  # registers the class of the model\n"
        return _loaded("AutoModel", registers, asking if raw_inputs else [], *own.further, input=own.input)
    if data.get("task_type") == "ctc" and raw_inputs:
        return _loaded("AutoModelForCTC, AutoTokenizer", registers, _spelled(asked))
    if data["modality"] == "audio" and raw_inputs:
        # A pipeline knows neither the length that was measured nor pictures of sounds.
        reads = "image" if "image_size" in data.get("prepared", {}) else "audio"
        return _loaded(classifier_class(reads).__name__, registers, _best_of(asked))
    pipe = pipeline_of(report)
    options = _OPTIONS.get(data["modality"], "") if pipe != "token-classification" else ""
    if data.get("task_type") == "regression":
        options += ', function_to_apply="none"'  # the number itself, not squeezed between 0 and 1
    return (
        f"{registers}from transformers import pipeline\n\n"
        f"{_HERE}\n"
        f'classifier = pipeline("{pipe}", model=name)\n'
        f"print(classifier({asked}{options}))"
    )


def _loaded(kind: str, registers: str, asking: Sequence[str], *further: str, input: str | None = None) -> str:
    """Loads the model, and its inputs where it is asked, and goes on."""
    own = "" if input is None else f", input={quoted(input)}"
    lines = [
        *(["from hf_transfer_kit import load_inputs"] if asking else []),
        f"from transformers import {kind}\n",
        _HERE,
        f"model = {kind.partition(',')[0]}.from_pretrained(name).eval()",
        *([f"inputs = load_inputs(name{own})"] if asking else []),
        *asking,
        *further,
    ]
    return registers + "\n".join(lines)


def _spelled(asked: str) -> list[str]:
    return [
        "symbols = AutoTokenizer.from_pretrained(name)",
        f"likeliest = model(**inputs([{asked}])).logits[0].argmax(-1)",
        "print(symbols.decode(likeliest))",
    ]


def _best_of(asked: str) -> list[str]:
    return [
        f"scores = model(**inputs([{asked}])).logits[0]",
        "print(model.config.id2label[int(scores.argmax())])",
    ]


def adapter_snippet(
    report: TransferReport, base_model: str | None, config: Mapping[str, Any] | None = None, *, alone: bool = False
) -> str | None:
    """Puts the adapter alone on its base; None where the run left none, or its base is not on the Hub.

    Args:
        report: Of the run.
        base_model: Hub name of the network that it changes.
        config: What config.json of the merged network says: the base is made as that network was.
        alone: Whether the adapter is all that the repository holds. There is a snippet then in any case, with the
            base's name for people where it is not on the Hub.
    """
    if not alone and (base_model is None or not str(report.winner).startswith(("lora", "peft"))):
        return None
    place = "" if alone else ', subfolder="adapter"'
    given: dict[str, object] = {"num_labels": len(report.data["classes"]), **_base_options(config or {})}
    if window := report.data.get("prepared", {}).get("window_seconds"):
        given["max_seconds"] = int(window) if window == int(window) else window
    options = "".join(f", {name}={quoted(value) if isinstance(value, str) else value}" for name, value in given.items())
    return (
        "from hf_transfer_kit import load_model\n"
        "from peft import PeftModel\n\n"
        f"{_HERE}\n"
        f"base = load_model({quoted(base_model or report.model_name)}{options})\n"
        f"model = PeftModel.from_pretrained(base, name{place}).eval()\n"
        "print(model.active_adapter)"
    )


def _base_options(config: Mapping[str, Any]) -> dict[str, object]:
    """What ``load_model`` is told to make such a network of its checkpoint: an adapter's file does not say it."""
    architecture = next(iter(config.get("architectures") or ()), "")
    for task_type, (auto, _) in TASK_CLASSES.items():
        if architecture.endswith(auto.removeprefix("AutoModel")):
            return {"task_type": task_type}
    if "encoder_config" in config and "pooling" in config:
        return {"pooling": config["pooling"]}
    if config.get("use_weighted_layer_sum"):
        return {"weighted_layers": True}
    # An encoder of sentences would be pooled as its own file says.
    return {"pooling": "classifier"} if architecture.endswith("ForSequenceClassification") else {}


def at_repository(card: str, repo_id: str) -> str:
    """The card with snippets that load from the repository."""
    return card.replace(_HERE, f'name = "{repo_id}"')
