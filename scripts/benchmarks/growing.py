"""What a network that learns further classes forgets of its own: MNIST's first five digits, then the other five.

A small network learns digits 0 to 4; then digits 5 to 9 are learned beside them in each way, for the same steps, with a
few replayed rows of the old ones or with none. The bound is joint training: the same network and steps with all rows of
the old digits. Reported on MNIST's test rows: old digits before (among five) and after (among ten), new digits and all
(among ten), mean and spread over seeds. Nothing is chosen here: strengths and margins are the defaults of
`finetune.py --old_classes kept`. Their values were chosen with seed 10 on 4,000 rows of MNIST's train split; that a
margin and a loss among new classes help was first seen on 4,000 of the test rows, with seed 0.

    python scripts/benchmarks/growing.py --data MNIST
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, DatasetDict, load_dataset
from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit import LwF, extend_head, load_data, prepare_data
from hf_transfer_kit.backbones.heads import last_layer
from hf_transfer_kit.data import ClassBalance, PreparedData
from hf_transfer_kit.data.growing import with_classes
from hf_transfer_kit.data.replay import with_few_rows
from hf_transfer_kit.selection import DANN_MNIST, Budget, fresh_network, fresh_processor, make_strategy
from hf_transfer_kit.selection.finetuning.growing import joined_data, old_accuracy
from hf_transfer_kit.selection.finetuning.running import run_strategy

OLD, NEW = tuple("01234"), tuple("56789")
FIGURES = ("old_before", "old_after", "forgetting", "new_after", "all_after")


@dataclass(frozen=True)
class Arm:
    """A way of learning the new digits.

    Args:
        rows: ``"none"``, ``"few"`` or ``"all"`` of the old ones.
        lwf: Strength of the old network's word.
        balance: How classes are balanced.
    """

    rows: str
    lwf: float = 0.0
    balance: ClassBalance = ClassBalance()  # noqa: RUF009 - it is frozen


def arms(lwf: float, margin: float) -> dict[str, Arm]:
    """Name -> what is compared."""
    even = ClassBalance(sampler="balanced")
    return {
        "joint, all old rows": Arm("all"),
        "naive": Arm("none"),
        "LwF": Arm("none", lwf),
        "LwF, loss among new classes": Arm("none", lwf, ClassBalance(margin=margin)),
        "replay": Arm("few"),
        "replay + LwF": Arm("few", lwf),
        "replay, balanced": Arm("few", 0.0, even),
        "replay, balanced + LwF": Arm("few", lwf, even),
        "replay, balanced, margin": Arm("few", 0.0, replace(even, margin=margin)),
        "replay, balanced, margin + LwF": Arm("few", lwf, replace(even, margin=margin)),
    }


def digits(folder: str, target: Path, rows: int, test_rows: int, seed: int) -> None:
    """Writes so many rows of MNIST, old and new digits apart."""
    splits = load_dataset("parquet", data_files={s: f"{folder}/{s}.parquet" for s in ("train", "test")})
    for name, classes in (("old", OLD), ("new", NEW)):
        found = {}
        for split, count in (("train", rows), ("test", test_rows)):
            data = splits[split].shuffle(seed=seed).select(range(count))
            data = data.select(np.flatnonzero(np.isin(data["label"], [int(digit) for digit in classes])))
            labels = [classes.index(str(label)) for label in data["label"]]
            found[split] = data.remove_columns("label").add_column(
                "label", labels, feature=ClassLabel(names=list(classes))
            )
        DatasetDict(found).save_to_disk(target / name)


def aligned(model: PreTrainedModel) -> PreTrainedModel:
    """The same with new classes' weights as long as old ones' on average (Zhao et al. 2020)."""
    model = copy.deepcopy(model)
    _, layer = last_layer(model)
    lengths = layer.weight.detach().norm(dim=1)
    with torch.no_grad():
        layer.weight[len(OLD) :] *= lengths[: len(OLD)].mean() / lengths[len(OLD) :].mean()
    return model


@torch.no_grad()
def figures(model: PreTrainedModel, data: PreparedData, before: float) -> dict[str, float]:
    """Accuracies among all classes on test rows, in per cent."""
    model.eval()
    right, old = [], []
    for start in range(0, len(data.test), 256):
        batch = data.collator([data.test[row] for row in range(start, min(start + 256, len(data.test)))])
        labels = batch.pop("labels")
        right += (model(**batch).logits.argmax(dim=1) == labels).tolist()
        old += (labels < len(OLD)).tolist()
    right, old = np.array(right), np.array(old)
    after = right[old].mean()
    found = (before, after, before - after, right[~old].mean(), right.mean())
    return {name: 100 * float(value) for name, value in zip(FIGURES, found, strict=True)}


def grown(options: argparse.Namespace, folder: Path, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Name -> figures of each way with one seed."""
    processor, full = fresh_processor(DANN_MNIST), make_strategy("full")
    args = TrainingArguments(
        folder / "run", use_cpu=True, report_to=[], disable_tqdm=True, remove_unused_columns=False,
        per_device_train_batch_size=options.batch_size, per_device_eval_batch_size=256,
    )  # fmt: skip
    loaded = {name: load_data(folder / name, validation_size=0.05) for name in ("old", "new")}
    first = prepare_data(loaded["old"], processor)
    budget = Budget(options.first_steps, options.batch_size, evaluations=1, learning_rate=1e-3)
    source = run_strategy(full, lambda s: fresh_network(DANN_MNIST, OLD, seed=s), first, args, budget, seed=seed).model
    new = prepare_data(with_classes(loaded["new"], (*OLD, *NEW)), processor)
    few = prepare_data(with_few_rows(loaded["old"], options.replay_rows, seed=seed), processor, like=new)
    data = {"none": joined_data(new, few), "few": joined_data(new, few), "all": joined_data(new, first)}
    data["none"] = replace(data["none"], train=new.train)
    before = old_accuracy(source, data["all"], args)
    budget = Budget(options.steps, options.batch_size, evaluations=1)
    for name, arm in arms(options.lwf, options.margin).items():
        run = run_strategy(
            full,
            lambda s: extend_head(copy.deepcopy(source), NEW, seed=s),
            replace(data[arm.rows], balance=arm.balance),
            args,
            budget,
            seed=seed,
            callbacks=(LwF(source=source, own_head=True, alpha=arm.lwf),) if arm.lwf else (),
            test=False,
        )
        yield name, figures(run.model, data["all"], before)
        if name == "replay, balanced + LwF":
            yield f"{name}, aligned", figures(aligned(run.model), data["all"], before)


def main() -> None:
    """Prints one line of JSON a way and seed, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--test_rows", type=int, default=10000)
    parser.add_argument("--replay_rows", type=int, default=20)
    parser.add_argument("--first_steps", type=int, default=300)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--lwf", type=float, default=0.1)
    parser.add_argument("--margin", type=float, default=0.75)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            digits(options.data, Path(folder), options.rows, options.test_rows, seed)
            for name, values in grown(options, Path(folder), seed):
                print(json.dumps({"seed": seed, "way": name, **values}), flush=True)
                found.setdefault(name, []).append(values)
    print(f"| way | {' | '.join(FIGURES)} |\n| --- |{' --- |' * len(FIGURES)}")
    for name, runs in found.items():
        columns = [[run[figure] for run in runs] for figure in FIGURES]
        cells = [f"{statistics.fmean(v):.1f} ± {statistics.stdev(v) if len(v) > 1 else 0:.1f}" for v in columns]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
