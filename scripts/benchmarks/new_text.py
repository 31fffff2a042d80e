"""New text without losing the old: what a language model that goes on with other text still knows of the first.

A small GPT-2 learns one kind of text (by default reviews of books), then goes on with another (questions) under each
part of the kit, for the same steps. Reported are its losses per token on rows of both that it has not learned, mean and
spread over seeds; a part's strength is chosen on validation rows of both, never on those.

    python scripts/benchmarks/new_text.py --old OLD --new NEW --text_column text
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile

import torch
from datasets import Dataset, concatenate_datasets, load_dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

from hf_transfer_kit import L2SP, LwF, WeightInterpolation

WORDS, LENGTH = 2000, 32


def texts(folder: str, column: str) -> dict[str, list[str]]:
    """Train and test texts of a folder of parquet files."""
    files = {split: f"{folder}/{split}.parquet" for split in ("train", "test")}
    return {split: list(rows[column]) for split, rows in load_dataset("parquet", data_files=files).items()}


def packed(tokenizer: Tokenizer, lines: list[str], limit: int) -> Dataset:
    """Rows of ``LENGTH`` tokens, texts one after the other, each its own labels."""
    ids = [i for line in lines for i in [*tokenizer.encode(line).ids, 0]]
    rows = [ids[start : start + LENGTH] for start in range(0, len(ids) - LENGTH, LENGTH)][:limit]
    return Dataset.from_dict({"input_ids": rows, "labels": rows})


def trained(model: GPT2LMHeadModel, rows: Dataset, steps: int, rate: float, seed: int, callbacks=()):
    """The model after ``steps`` of AdamW on batches of 16 rows."""
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder, max_steps=steps, learning_rate=rate, per_device_train_batch_size=16, seed=seed, use_cpu=True,
            report_to=[], save_strategy="no", disable_tqdm=True, logging_steps=10**6,
            weight_decay=0.0, lr_scheduler_type="linear",
        )  # fmt: skip
        Trainer(model, args, train_dataset=rows, callbacks=list(callbacks)).train()
    return model


@torch.no_grad()
def loss(model: GPT2LMHeadModel, rows: Dataset) -> float:
    """Mean loss per token, in nats."""
    model.eval()
    ids = torch.tensor(rows["input_ids"])
    return statistics.fmean(float(model(input_ids=part, labels=part).loss) for part in ids.split(64))


def continued(source, data: dict[str, Dataset], steps: int, rate: float, seed: int) -> dict[str, GPT2LMHeadModel]:
    """Name -> the source after the new text under each part; strengths by the mean loss on validation rows of both."""
    both = concatenate_datasets([data["old_validation"], data["new_validation"]])
    candidates = {
        "plain": [()],
        "L2SP": [(L2SP(strength, strength),) for strength in (0.01, 0.1, 1.0)],
        "LwF": [(LwF(source=source, alpha=alpha),) for alpha in (0.3, 1.0, 3.0)],
        "WeightInterpolation": [(WeightInterpolation(metric="loss", eval_dataset=both),)],
    }
    found = {"before": source}
    for name, choices in candidates.items():
        after = [trained(copy.deepcopy(source), data["new"], steps, rate, seed, callbacks) for callbacks in choices]
        found[name] = min(after, key=lambda model: loss(model, both))
    return found


def main() -> None:
    """Prints a line of JSON a seed, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", required=True)
    parser.add_argument("--text_column", default="text")
    parser.add_argument("--first_steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    old, new = (texts(folder, options.text_column) for folder in (options.old, options.new))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    words = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=["<end>"], show_progress=False)
    tokenizer.train_from_iterator(old["train"] + new["train"], words)
    data = {}
    for name, lines in (("old", old), ("new", new)):
        whole = packed(tokenizer, lines["train"], 6000)
        data[name] = whole.select(range(len(whole) - 200))
        data[f"{name}_validation"] = whole.select(range(len(whole) - 200, len(whole)))
        data[f"{name}_test"] = packed(tokenizer, lines["test"], 600)
    found: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        set_seed(seed)
        config = GPT2Config(
            vocab_size=WORDS, n_positions=LENGTH, n_embd=128, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0
        )
        source = trained(GPT2LMHeadModel(config), data["old"], options.first_steps, 1e-3, seed)
        for name, model in continued(source, data, options.steps, options.rate, seed).items():
            losses = {kind: loss(model, data[f"{kind}_test"]) for kind in ("old", "new")}
            print(json.dumps({"seed": seed, "part": name, **losses}), flush=True)
            for kind, value in losses.items():
                found.setdefault(name, {}).setdefault(kind, []).append(value)
    for name, losses in found.items():
        cells = [f"{statistics.fmean(v):.2f} ± {statistics.stdev(v) if len(v) > 1 else 0:.2f}" for v in losses.values()]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
