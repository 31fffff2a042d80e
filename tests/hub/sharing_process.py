"""Pushes every recipe's model, or pulls them all, in a process whose Hub is a loopback server.

python sharing_process.py push|pull FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from hub.sharing_cases import BASE, CASES, bert
from safetensors.torch import save_file

folder = Path(sys.argv[2])


def push() -> None:
    from hf_transfer_kit import push_transfer_model
    from hf_transfer_kit.hub import save_results

    base = bert()
    base.model.push_to_hub(BASE)
    base.processor.push_to_hub(BASE)
    logits = {}
    for name, make in CASES.items():
        case = make()
        output = folder / name
        save_results(output, case.report, case.model, case.processor, {"seed": 0}, base_model=case.base_model)
        for beside in ("training_args.bin", "optimizer.pt", "checkpoint-4/model.safetensors", "runs/events", ".env"):
            (output / beside).parent.mkdir(exist_ok=True)
            (output / beside).write_bytes(b"not for others")
        push_transfer_model(output, f"me/{name}")
        logits[name] = case.logits()
    logits["trainer"] = train()
    save_file(logits, folder / "pushed.safetensors")


def train() -> torch.Tensor:
    """A model of the kit in a stock Trainer that pushes each checkpoint, and at its end."""
    from transformers import Trainer, TrainingArguments

    from hf_transfer_kit import NoPickleUploads

    case = CASES["zero_shot"]()
    row = {"pixel_values": case.inputs["pixel_values"][0], "labels": 1}
    args = TrainingArguments(
        str(folder / "trainer"), push_to_hub=True, hub_model_id="me/trainer", hub_strategy="checkpoint", max_steps=2,
        save_steps=1, use_cpu=True, report_to=[], disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(case.model, args, train_dataset=[row] * 8, callbacks=[NoPickleUploads()])
    trainer.train()
    trainer.push_to_hub()
    case.model.eval()
    return case.logits()


@torch.no_grad()
def pull() -> None:
    import peft
    from huggingface_hub import ModelCard
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    from hf_transfer_kit import DomainAdversarialModel, MultiTaskModel, ZeroShotModel, load_model

    classes = {
        "timm": AutoModelForImageClassification,
        "bert": AutoModelForSequenceClassification,
        "adversarial": DomainAdversarialModel,
        "adapted": AutoModelForImageClassification,
        "multitask": MultiTaskModel,
        "zero_shot": ZeroShotModel,
        "lora": AutoModelForSequenceClassification,
    }
    logits, cards, inputs = {}, {}, {}
    for name, make in CASES.items():
        # The model that the case makes is not looked at: weights come from the Hub alone.
        inputs[name] = make().inputs
        model = classes[name].from_pretrained(f"me/{name}").eval()
        logits[name] = model(**inputs[name]).logits
        card = ModelCard.load(f"me/{name}", ignore_metadata_errors=False).data
        cards[name] = {
            "metrics": {result.metric_type: result.metric_value for result in card.eval_results},
            "base_model": card.base_model,
            "relation": card.to_dict().get("base_model_relation"),
            "library": card.library_name,
            "pipeline": card.pipeline_tag,
        }
        if name == "zero_shot":
            model.set_classes({"owl": {"stripes": 0, "hooves": 0, "flies": 1}})
            cards["new classes"] = list(model.config.id2label.values())
            logits["new classes"] = model(**inputs[name]).logits
    logits["trainer"] = ZeroShotModel.from_pretrained("me/trainer").eval()(**inputs["zero_shot"]).logits
    adapted = peft.PeftModel.from_pretrained(load_model(BASE, num_labels=2, seed=5), "me/lora", subfolder="adapter")
    logits["adapter"] = adapted.eval()(**inputs["lora"]).logits
    save_file(logits, folder / "pulled.safetensors")
    (folder / "cards.json").write_text(json.dumps(cards))


{"push": push, "pull": pull}[sys.argv[1]]()
