"""Small saved models of every kind of task, each with raw rows and the logits that its own evaluation gives of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as tf
import yaml
from hub.sharing_cases import tokenizer
from hub.test_raw_inputs import bert, sounds, vit, vit_processor, wav2vec2
from multitask_packed import text_model
from tiny import SIZES
from torch import Tensor

from hf_transfer_kit import load_data, prepare_data
from hf_transfer_kit.data import InputSizes, PreparedData, RawInputs, raw_rows
from hf_transfer_kit.hub import save_inputs
from hf_transfer_kit.multitask import MultiTaskModel
from hf_transfer_kit.selection.finetuning.running import of_task

WORDS = ("a", "sentence", "of", "few", "words", "that", "are", "all", "known")


@dataclass
class Saved:
    """A folder with a model.

    Args:
        folder: Where.
        rows: Raw rows.
        logits: Task (None for one alone) -> what the model that was saved says of the prepared rows.
        model: That model.
    """

    folder: Path
    rows: Sequence[Any]
    logits: Mapping[str | None, Tensor]
    model: Any


@torch.no_grad()
def measured(model: Any, prepared: PreparedData, task: str | None = None) -> Tensor:
    """Logits of the test rows in one batch, as an evaluation makes it."""
    batch = prepared.collator([prepared.test[row] for row in range(len(prepared.test))])
    batch.pop("labels", None)
    return model.eval()(**batch, **({} if task is None else {"task": task})).logits


def table(folder: Path, name: str, labels: Sequence[Any], *, words: bool = False) -> Path:
    """A file of 30 texts, or lists of words, with these labels."""
    folder.mkdir(parents=True, exist_ok=True)
    lists = [[WORDS[(row + place) % 9] for place in range(2 + row % 5)] for row in range(30)]
    texts = lists if words else [" ".join(each) for each in lists]
    rows = [{"text": text, "label": labels[row]} for row, text in enumerate(texts)]
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def plain(folder: Path, kind: str) -> Saved:
    """A classifier of transformers for one type of task, as finetune.py leaves it."""
    labels = {
        "regression": [row / 7 for row in range(30)],
        "multi_label": [["ab"[row % 2], "c"] for row in range(30)],
        "token_classification": [["O" if (row + n) % 3 else "B-X" for n in range(2 + row % 5)] for row in range(30)],
    }[kind]
    words = kind == "token_classification"
    data = load_data(table(folder, kind, labels, words=words), task_type=kind)
    prepared = prepare_data(data, tokenizer(), max_length=4)
    config = tf.BertConfig(vocab_size=40, num_labels=max(1, len(data.label_names)), max_position_embeddings=64, **SIZES)
    names = dict(enumerate(data.label_names)) or {0: "LABEL_0"}
    config.id2label, config.label2id = names, {name: index for index, name in names.items()}
    network = (tf.BertForTokenClassification if words else tf.BertForSequenceClassification)(config)
    model = of_task(network, prepared)
    model.save_pretrained(folder / "kept")
    save_inputs(folder / "kept", prepared.raw_inputs)
    return Saved(folder / "kept", raw_rows(data, "test"), {None: measured(model, prepared)}, model)


def several_texts(folder: Path) -> Saved:
    """Four types of task on one text input; that of words reads lists of words."""
    model = text_model().eval()
    model.save_pretrained(folder / "kept")
    inputs = RawInputs("text", tokenizer(), InputSizes(max_length=6))
    save_inputs(folder / "kept", {"default": inputs})
    rows = ["a sentence of few", "words that are all known", "known", "w1 w2 w3 w4 w5"]
    with torch.no_grad():
        logits = {task: model(task=task, **inputs(rows)).logits for task in model.config.tasks}
    return Saved(folder / "kept", rows, logits, model)


def two_inputs(folder: Path) -> Saved:
    """Pictures in grey and in colours, a task on each, and one more in colours."""
    one = {"type": "classification", "num_labels": 3}
    tasks = {"real": {**one, "input": "rgb"}, "drawn": {**one, "input": "grey"}, "size": {"type": "regression", "input": "rgb"}}  # fmt: skip
    settings = {"inputs": {"rgb": {}, "grey": {"channels": 1}}, "shared_from": 1, "seed": 0}
    model = MultiTaskModel.from_backbone(vit(), tasks, **settings).eval()
    model.save_pretrained(folder / "kept")
    read = {
        name: RawInputs("image", vit_processor(24), InputSizes(channels=n)) for name, n in (("rgb", 3), ("grey", 1))
    }
    save_inputs(folder / "kept", read)
    rows = pictures(folder / "pictures")
    with torch.no_grad():
        logits = {task: model(task=task, **read[of["input"]](rows)).logits for task, of in model.config.tasks.items()}
    return Saved(folder / "kept", rows, logits, model)


def transcripts(folder: Path) -> Saved:
    """Sounds spelled, beside their classes."""
    data = sounds(folder / "sounds")
    network, extractor = wav2vec2(True)
    tasks = {
        "spelled": {"type": "ctc", "id2label": ["<blank>", "a", "b"]},
        "class": {"type": "classification", "id2label": ["x", "y", "z"]},
    }
    model = MultiTaskModel.from_backbone(network, tasks, seed=0).eval()
    with torch.no_grad():
        model.heads["spelled"].linear.weight.mul_(20)  # so that not every frame says the same
    prepared = prepare_data(data, extractor)
    model.save_pretrained(folder / "kept")
    save_inputs(folder / "kept", {"default": prepared.raw_inputs})
    logits = {task: measured(model, prepared, task) for task in tasks}
    return Saved(folder / "kept", raw_rows(data, "test"), logits, model)


def classifier(folder: Path, names: Sequence[str] = ("cat", "dog", "owl")) -> Saved:
    """A network of pictures."""
    model = vit().eval()
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: index for index, name in enumerate(names)}
    model.save_pretrained(folder / "kept")
    inputs = RawInputs("image", vit_processor(24), InputSizes())
    save_inputs(folder / "kept", inputs)
    rows = pictures(folder / "pictures")
    with torch.no_grad():
        return Saved(folder / "kept", rows, {None: model(**inputs(rows)).logits}, model)


def pairs(folder: Path) -> Saved:
    """A network of pairs of texts, whose settings name both columns."""
    model = bert().eval()
    model.save_pretrained(folder / "kept")
    inputs = RawInputs("text", tokenizer(), InputSizes(max_length=8))
    save_inputs(folder / "kept", inputs)
    (folder / "kept" / "config.yaml").write_text(yaml.safe_dump({"input_column": "first,second"}))
    rows = [("a sentence", "of few"), ("words", "that are"), ("all known", "w1")]
    with torch.no_grad():
        return Saved(folder / "kept", rows, {None: model(**inputs(rows)).logits}, model)


def pictures(folder: Path, count: int = 7) -> list[str]:
    """Files of random pictures of several sizes, in the order of their names."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    paths = [folder / f"{row}.png" for row in range(count)]
    for row, path in enumerate(paths):
        Image.fromarray(draw.integers(0, 255, (30 + row, 40, 3), dtype=np.uint8)).save(path)
    return [str(path) for path in paths]
