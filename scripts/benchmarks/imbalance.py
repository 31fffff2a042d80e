"""What balanced weights and a balanced sampler give where one class has fifty times the rows of another.

Two classes of flowers, 300 training rows of the first and 6 of the second, all test rows of both; one strategy under
one budget, plain and balanced in either way. Reported is macro F1 on the test rows, mean and spread over seeds, and the
95 % interval of the difference to plain (paired bootstrap over rows and seeds).

    python scripts/benchmarks/imbalance.py --data FLOWERS --model MODEL
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import DatasetDict, load_dataset
from sklearn.metrics import f1_score
from transformers import TrainingArguments

from hf_transfer_kit import load_data, load_model, load_processor, prepare_data
from hf_transfer_kit.data import ClassBalance
from hf_transfer_kit.reports.race.report import majority_notes
from hf_transfer_kit.selection import Budget, make_strategy
from hf_transfer_kit.selection.finetuning.running import run_strategy
from hf_transfer_kit.selection.finetuning.summaries import summarize
from hf_transfer_kit.selection.finetuning.task_judging import judging_of

ARMS = {"plain": ClassBalance(), "weights": ClassBalance("balanced"), "sampler": ClassBalance(sampler="balanced")}


def imbalanced(folder: str, classes: list[str], rows: list[int], target: Path) -> None:
    """Writes the two classes, so many training rows of each and all their test rows."""
    splits = load_dataset("parquet", data_files={s: f"{folder}/{s}.parquet" for s in ("train", "test")})
    names = splits["train"].features["label"].names
    found = {}
    for split, data in splits.items():
        labels = np.array(data["label"])
        places = [np.flatnonzero(labels == names.index(name)) for name in classes]
        kept = [own[:count] if split == "train" else own for own, count in zip(places, rows, strict=True)]
        texts = [names[label] for label in labels[np.concatenate(kept)]]
        found[split] = data.select(np.concatenate(kept)).remove_columns("label").add_column("label", texts)
    DatasetDict(found).save_to_disk(target)


def interval(true: np.ndarray, first: np.ndarray, second: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """Of macro F1 of the second's predictions minus the first's, each of shape (seeds, rows)."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        rows, seeds = draw.integers(0, len(true), len(true)), draw.integers(0, len(first), len(first))
        scores = [
            np.mean([f1_score(true[rows], predicted[seed][rows], average="macro", zero_division=0) for seed in seeds])
            for predicted in (first, second)
        ]
        found.append(scores[1] - scores[0])
    return tuple(np.quantile(found, [0.025, 0.975]))


def main() -> None:
    """Prints one line of JSON an arm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--classes", nargs=2, default=["dandelion", "roses"])
    parser.add_argument("--rows", nargs=2, type=int, default=[300, 6])
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--strategy", default="head_only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        imbalanced(options.data, options.classes, options.rows, Path(folder) / "data")
        loaded = load_data(Path(folder) / "data")
        data = prepare_data(loaded, load_processor(options.model, "image"), image_size=options.image_size)
        args = TrainingArguments(
            folder, use_cpu=True, report_to=[], per_device_train_batch_size=16, per_device_eval_batch_size=64,
            disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip
        budget, strategy = Budget(options.steps, 16, evaluations=1), make_strategy(options.strategy)
        predicted, true = {}, None
        for name, balance in ARMS.items():
            runs = [
                run_strategy(
                    strategy,
                    lambda seed: load_model(options.model, id2label=dict(enumerate(loaded.label_names)), seed=seed),
                    replace(data, balance=balance), args, budget, seed=seed,
                )
                for seed in options.seeds
            ]  # fmt: skip
            true, predicted[name] = runs[0].true, np.stack([run.predicted for run in runs])
            scores = [run.test["macro_f1"] for run in runs]
            low, high = interval(true, predicted["plain"], predicted[name])
            line = {
                "arm": name,
                "macro_f1": round(float(np.mean(scores)), 4),
                "spread": round(float(np.std(scores, ddof=1)), 4),
            }
            line |= {"accuracy": round(float(np.mean([run.test["accuracy"] for run in runs])), 4)}
            line |= {"difference_low": round(low, 4), "difference_high": round(high, 4)}
            line |= {
                "told": bool(
                    majority_notes(loaded.label_names, true, summarize(options.strategy, "", runs, judging_of(data)))
                )
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
