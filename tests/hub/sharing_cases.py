"""A small model of every recipe with the report of its run, as a script would have left them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
import torch
from huggingface_hub import CommitInfo
from reports import adaptation_case, multitask_case, zero_shot_case
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ViTImageProcessor

from hf_transfer_kit import DomainAdversarialModel, TransferReport, ZeroShotModel, load_model
from hf_transfer_kit.selection import make_strategy
from hf_transfer_kit.values import StrategyResult, Verdict

BASE = "me/base"


def recording_hub(sent: dict[str, bytes]) -> type:
    """A class in the place of ``HfApi``: what is committed comes into ``sent``, by its path in the repository."""

    class Hub:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **options):
            return type("Repository", (), {"repo_id": repo_id})

        def create_commit(self, repo_id, operations, **options):
            for operation in operations:
                given = operation.path_or_fileobj
                sent[operation.path_in_repo] = given if isinstance(given, bytes) else Path(given).read_bytes()
            address = f"https://huggingface.co/{repo_id}/commit/a"
            message = options["commit_message"]
            return CommitInfo(commit_url=address, commit_message=message, commit_description="", oid="a")

    return Hub


@dataclass
class Case:
    """What is shared.

    Args:
        model: As the run ended, in evaluation mode.
        inputs: Of its forward.
        report: With figures of its own.
        processor: Where a pipeline needs one.
        base_model: Hub name.
    """

    model: PreTrainedModel
    inputs: dict[str, Any]
    report: TransferReport
    processor: object | None = None
    base_model: str | None = None

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        return self.model(**self.inputs).logits


def classified(modality: str, classes: int, **changes: Any) -> TransferReport:
    """The report of a race that fine-tuning won."""
    figures = {"accuracy": 0.75, "macro_f1": 0.7, "loss": 0.5}
    results = tuple(
        StrategyResult(
            name,
            "One.",
            (0, 1),
            {"accuracy": value},
            {**figures, "accuracy": value},
            {"accuracy": 0.02},
            (),
            10,
            100,
            2.0,
        )
        for name, value in (("full", 0.75), ("from_scratch", 0.5))
    )
    given: dict[str, Any] = {
        "recipe": "transfer",
        "metrics": figures,
        "baselines": {"from_scratch": {"accuracy": 0.5}},
        "plan": {"strategy": "full", "learning_rate": 0.001},
        "layer_groups": [
            {"depth": 0, "name": "stem", "parameters": 40, "trainable": 0.0, "head": False},
            {"depth": 1, "name": "head", "parameters": 60, "trainable": 1.0, "head": True},
        ],
        "data": {
            "modality": modality,
            "classes": [f"class {index}" for index in range(classes)],
            "sizes": {"train": 60, "validation": 20, "test": 20},
            "fingerprints": {"train": "ab12", "validation": "cd34", "test": "ef56"},
            "skipped_rows": 0,
        },
        "seconds": {"total": 12.0},
        "versions": {"torch": "2"},
        "seed": 0,
        "command": "python scripts/transfer.py --dataset birds --model_name_or_path me/base",
        "title": "base on birds",
        "model_name": "base",
        "dataset_name": "birds",
        "results": results,
        "winner": "full",
        "verdict": Verdict("full", "from_scratch", 0.25, 0.1, 0.4, 0.95, "helped", "Transfer helped by 25.0 points."),
        "budget": {"steps": 10, "batch_size": 4, "seeds": [0, 1]},
    }
    return TransferReport(**{**given, **changes})


def tokenizer() -> PreTrainedTokenizerFast:
    """Forty words, the ids of which fit the tiny BERT."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [
        "[PAD]",
        "[UNK]",
        *["a", "sentence", "of", "few", "words", "that", "are", "all", "known"],
        *(f"w{n}" for n in range(30)),
    ]
    rules = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words[:40])}, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="[UNK]", pad_token="[PAD]")


def image_processor() -> ViTImageProcessor:
    return ViTImageProcessor(size={"height": 32, "width": 32})


def timm() -> Case:
    model, inputs = tiny.timm_wrapped("resnet18")
    return Case(model.eval(), inputs, classified("image", 5), base_model="timm/resnet18.a1_in1k")


def bert() -> Case:
    model, inputs = tiny.classifiers()["bert"]()
    return Case(model.eval(), inputs, classified("text", 3), tokenizer(), BASE)


def adversarial() -> Case:
    """The model that was trained, with its domain head."""
    network, inputs = tiny.TRANSFORMERS["resnet"]()
    model = DomainAdversarialModel.from_classifier(network, method="dann").eval()
    report = adaptation_case.report_of(adaptation_case.adaptation())
    return Case(model, inputs, report, image_processor())


def adapted() -> Case:
    """What scripts/adapt.py keeps: the classifier alone."""
    case = adversarial()
    case.model = case.model.export_classifier().eval()
    return case


def multitask() -> Case:
    from multitask_packed import TEXT_TASKS, text_model

    model = text_model({"topic": TEXT_TASKS["topic"], "score": TEXT_TASKS["score"]}).eval()
    report = multitask_case.report_of(multitask_case.multitasking())
    return Case(model, {**tiny.tokens(), "task": "topic"}, report, tokenizer())


def zero_shot() -> Case:
    network, inputs = tiny.TRANSFORMERS["resnet"]()
    table = {
        "zebra": {"stripes": 1, "hooves": 1, "flies": 0},
        "horse": {"stripes": 0, "hooves": 1, "flies": 0},
        "eagle": {"stripes": 0, "hooves": 0, "flies": 1},
    }
    model = ZeroShotModel.from_backbone(network.eval(), table, seen=["horse", "eagle"], gamma=0.2).eval()
    with torch.no_grad():
        pictures = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        model.fit(model.features(pixel_values=pictures), ["horse", "eagle"] * 6)
    return Case(model, inputs, zero_shot_case.report_of(zero_shot_case.unseen_classes()), image_processor())


def lora(base: str = BASE) -> Case:
    """Two classes on a network of the Hub, through adapters."""
    network = load_model(base, num_labels=2, seed=1)
    model = make_strategy("lora:r=2").prepare_model(network, seed=0).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(2))
    inputs = tiny.tokens()
    return Case(model, inputs, classified("text", 2, winner="lora:r=2"), tokenizer(), base)


CASES = {
    "timm": timm,
    "bert": bert,
    "adversarial": adversarial,
    "adapted": adapted,
    "multitask": multitask,
    "zero_shot": zero_shot,
    "lora": lora,
}
