"""The depth search against training every depth: wall time, and the accuracy of what each of them chooses.

    python scripts/benchmarks/depth_search.py --model MODEL --dataset DATASET --output_dir outputs/depth_search

Every depth is trained with every seed and the whole budget, uncached; the search, with an empty cache, runs between
the first seed and the others, so that a machine that slows down slows both. Chosen is on validation by the same rule
(the cheapest within one standard error); beside it stands the depth with the best mean on test, which nobody could have
chosen. Finished runs are kept in results.json, so a stopped benchmark goes on where it was. Ends with a table and
one line of JSON.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers
from transformers import HfArgumentParser, TrainingArguments

from hf_transfer_kit.backbones import layer_groups, load_model, load_processor, modality_of
from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.data.splits import subset
from hf_transfer_kit.selection import Budget, depth_strategy, run_strategy, search_freeze_depth
from hf_transfer_kit.selection.contest.halving import Score, cheapest_within_one_error, standard_error


@dataclass
class BenchmarkArguments:
    """What is compared, and on what."""

    model: str = field(metadata={"help": "Pretrained classifier."})
    dataset: str = field(metadata={"help": "Labelled rows with a train and a test split."})
    output_dir: str = field(default="outputs/depth_search", metadata={"help": "Folder for results.json."})
    per_class: int = field(default=20, metadata={"help": "Labels a class."})
    validation_rows: int = field(default=300, metadata={"help": "Rows that depths are chosen on."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Runs of each depth."})
    image_size: int = field(default=96, metadata={"help": "Side in pixels."})
    steps: int = field(default=150, metadata={"help": "Optimizer steps of a run."})
    batch_size: int = field(default=16, metadata={"help": "Rows a step."})


class Benchmark:
    """Prepared data, and runs that are kept in a file."""

    def __init__(self, options: BenchmarkArguments) -> None:
        self.options = options
        self.folder = Path(options.output_dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "results.json"
        self.results = json.loads(path.read_text()) if path.exists() else {}
        whole = load_data(options.dataset)
        whole = load_data(
            options.dataset, validation_size=options.validation_rows / (len(whole.train) + len(whole.validation))
        )
        rows = options.per_class * len(whole.label_names)
        loaded = replace(whole, train=subset(whole.train, whole.label_column, rows, seed=0)[0])
        self.labels = dict(enumerate(loaded.label_names))
        model = self.make_model(0)
        self.groups = layer_groups(model)
        processor = load_processor(options.model, modality_of(model))
        self.data = prepare_data(loaded, processor, image_size=options.image_size)
        self.budget = Budget(options.steps, options.batch_size, evaluations=1)
        self.args = TrainingArguments(
            output_dir=str(self.folder / "runs"),
            per_device_train_batch_size=options.batch_size,
            per_device_eval_batch_size=100,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
        )

    def make_model(self, seed: int):
        """The pretrained network with a fresh head."""
        return load_model(self.options.model, id2label=self.labels, seed=seed)

    def kept(self, name: str, compute) -> dict:
        """The stored figures, or those computed now."""
        if name not in self.results:
            started = time.perf_counter()
            found = compute()
            self.results[name] = {**found, "wall": time.perf_counter() - started}
            temporary = self.folder / "results.unfinished"
            temporary.write_text(json.dumps(self.results, indent=1))
            temporary.replace(self.folder / "results.json")
            print(name, found.get("sentence") or self.results[name], flush=True)
        return self.results[name]

    def exhaustive(self, depth: int, seed: int) -> dict[str, float]:
        """One full run of one depth, uncached."""
        strategy = depth_strategy(self.groups, depth)
        run = run_strategy(strategy, self.make_model, self.data, self.args, self.budget, seed=seed)
        return {
            "validation": run.validation["accuracy"],
            "validation_loss": run.validation["loss"],
            "test": run.test["accuracy"],
        }

    def search(self) -> dict:
        """The search, with nothing cached before."""
        with tempfile.TemporaryDirectory() as cache:
            found = search_freeze_depth(
                self.make_model,
                self.data,
                self.args,
                self.budget,
                seeds=self.options.seeds,
                cache_dir=cache,
                on_result=lambda result: print(" ", result, flush=True),
            )
        return asdict(found)


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(BenchmarkArguments).parse_args_into_dataclasses()
    benchmark = Benchmark(options)
    depths = range(len(benchmark.groups.body) + 1)
    runs: dict[int, list[dict]] = {depth: [] for depth in depths}
    for number, seed in enumerate(options.seeds):
        if number == 1 or len(options.seeds) == 1:
            benchmark.kept("search", benchmark.search)
        for depth in depths:
            name = f"depth {depth}, seed {seed}"
            runs[depth].append(benchmark.kept(name, lambda depth=depth, seed=seed: benchmark.exhaustive(depth, seed)))
    print(summary(runs, benchmark.results["search"], len(benchmark.data.validation)))


def summary(runs: dict[int, list[dict]], search: dict, rows: int) -> str:
    """The table by depth, and one line of JSON that compares search and exhaustive."""
    lines = ["| depth | validation | test | seconds a run | search: rung, steps | validation there |", "|---" * 6 + "|"]
    scores, test = {}, {}
    for depth, found in runs.items():
        validation = [run["validation"] for run in found]
        error = standard_error(validation, rows)
        loss = float(np.mean([run["validation_loss"] for run in found]))
        scores[depth] = Score(float(np.mean(validation)), error, loss)
        test[depth] = float(np.mean([run["test"] for run in found]))
        own = next(result for result in search["results"] if result["depth"] == depth)
        lines.append(
            f"| {depth} | {100 * np.mean(validation):.1f} ± {100 * error:.1f} | {100 * test[depth]:.1f} | "
            f"{np.mean([run['wall'] for run in found]):.1f} | {own['rung']}, {own['steps']} | "
            f"{100 * own['accuracy']:.1f} ± {100 * own['error']:.1f} |"
        )
    price = {result["depth"]: result["trainable_parameters"] for result in search["results"]}
    by_rule = cheapest_within_one_error(scores, price)
    by_mean = max(scores, key=lambda depth: (scores[depth].accuracy, -scores[depth].loss))
    total = sum(run["wall"] for found in runs.values() for run in found)
    compared = {
        "search_seconds": round(search["wall"], 1),
        "exhaustive_seconds": round(total, 1),
        "ratio": round(search["wall"] / total, 3),
        "chosen": search["chosen"],
        "test_of_chosen": round(test[search["chosen"]], 4),
        "exhaustive_choice": by_rule,
        "test_of_exhaustive_choice": round(test[by_rule], 4),
        "best_on_validation": by_mean,
        "test_of_best_on_validation": round(test[by_mean], 4),
        "best_test_of_all": round(max(test.values()), 4),
    }
    return "\n".join([*lines, json.dumps(compared)])


if __name__ == "__main__":
    main()
