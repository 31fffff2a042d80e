"""Do transferability scores order pretrained networks as fine-tuning does? Weighted tau for each score.

    python scripts/benchmarks/source_ranking.py --model MODEL --output_dir outputs/source_ranking

Eight candidates (a network from ImageNet, small ones trained on digits, partly trained, trained on sounds, and all
three architectures with random weights) are scored on a few labelled rows of each target, then fine-tuned whole.
Finished cells are kept in results.json. Ends with Markdown: accuracies, and for each score the weighted tau (Vigna
2015) between scores and fine-tuned accuracy over the candidates, and the place that it gives the best candidate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import datasets
import numpy as np
import transformers
from advisor_grid import learned_source, some_rows, training_arguments
from scipy.stats import weightedtau
from transformers import HfArgumentParser

from hf_transfer_kit.backbones import load_model, load_processor, modality_of
from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.selection import (
    Budget,
    default_steps,
    fresh_network,
    fresh_processor,
    make_strategy,
    run_strategy,
    transferability,
)

LEARNED = {
    "digits_network": {"network": "dann_mnist", "learned": "mnist", "rows": 10_000, "steps": 1000, "batch_size": 32},
    "digits_partly": {"network": "dann_mnist", "learned": "mnist", "rows": 10_000, "steps": 60, "batch_size": 32},
    "digits_resnet": {"network": "small_resnet", "learned": "mnist", "rows": 10_000, "steps": 600, "batch_size": 32},
    "speech_network": {"network": "small_resnet", "learned": "fsdd", "rows": 2160, "steps": 600, "batch_size": 32},
}
RANDOM = {"random_dann": "dann_mnist", "random_resnet": "small_resnet", "random_mobilenet": None}
TARGETS = ("digits", "mnist_m", "fsdd", "bengali_digits", "flowers", "pacs/cartoon")
_BATCH_SIZE = 16


@dataclass
class RankingArguments:
    """What is ranked, and on what."""

    model: str = field(metadata={"help": "Folder of the network from ImageNet."})
    data_dir: str = field(default="../shared/data", metadata={"help": "Folder of the datasets."})
    output_dir: str = field(default="outputs/source_ranking", metadata={"help": "Folder of results.json."})
    image_size: int = field(default=64, metadata={"help": "Side of pictures for the network from ImageNet."})
    per_class: int = field(default=20, metadata={"help": "Labelled rows a class."})
    test_rows: int = field(default=500, metadata={"help": "Of larger test splits so many."})
    seeds: list[int] = field(default_factory=lambda: [0, 1], metadata={"help": "Fine-tuning runs of each."})


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(RankingArguments).parse_args_into_dataclasses()
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "results.json"
    results = json.loads(place.read_text()) if place.exists() else {}
    for target in TARGETS:
        for name in ("imagenet", *LEARNED, *RANDOM):
            if f"{target}/{name}" not in results:
                results[f"{target}/{name}"] = measured(name, target, options, folder)
                print(target, name, results[f"{target}/{name}"], flush=True)
                place.write_text(json.dumps(results, indent=1))
    print(markdown(results))


def measured(name: str, target: str, options: RankingArguments, folder: Path) -> dict[str, object]:
    """Scores of one candidate on one target before training, and what fine-tuning it reaches."""
    dataset = target if target == "digits" else f"{options.data_dir}/{target}"
    classes = len(load_data(dataset).label_names)
    loaded = load_data(dataset, train_size=classes * options.per_class, validation_size=0.1)
    checkpoint = checkpoint_of(name, options, folder)
    fresh = RANDOM.get(name)
    own = fresh_network(fresh, loaded.label_names) if fresh else load_model(checkpoint, pretrained=name not in RANDOM)
    processor = (
        fresh_processor(fresh) if fresh else load_processor(options.model if name in RANDOM else checkpoint, "image")
    )
    size = {"image_size": options.image_size} if name in ("imagenet", "random_mobilenet") else {}
    data = prepare_data(loaded, processor, **size)
    data = replace(
        data, validation=some_rows(data.validation, 50, seed=0), test=some_rows(data.test, options.test_rows, seed=0)
    )
    assert modality_of(own) == "image"
    found = transferability(
        own, dataset=data.train, collator=data.collator, draws=0, cache_dir=folder / "caches", progress=False
    )
    budget = Budget(default_steps(len(data.train), _BATCH_SIZE, "image"), _BATCH_SIZE, evaluations=1)
    args = training_arguments(folder, _BATCH_SIZE, warmup=budget.max_steps // 10)
    maker = partial(_model, name, checkpoint, fresh, loaded.label_names)
    strategy = make_strategy("from_scratch" if name in RANDOM else "full")
    runs = [run_strategy(strategy, maker, data, args, budget, seed=seed) for seed in options.seeds]
    scores = {score: value.value for score, value in found.scores.items()}
    if name in RANDOM:  # its head has learned nothing
        scores = {score: value for score, value in scores.items() if score not in ("leep", "nce")}
    return {"accuracy": [run.test["accuracy"] for run in runs], "scores": scores}


def checkpoint_of(name: str, options: RankingArguments, folder: Path) -> str:
    """Where the candidate's weights, or those of its architecture, are."""
    if name not in LEARNED:
        return options.model
    source = {**LEARNED[name], "learned": f"{options.data_dir}/{LEARNED[name]['learned']}"}
    return learned_source(name, source, folder)


def _model(name: str, checkpoint: str, fresh: str | None, labels: tuple[str, ...], seed: int):
    if fresh:
        return fresh_network(fresh, labels, seed=seed)
    return load_model(checkpoint, id2label=dict(enumerate(labels)), pretrained=name not in RANDOM, seed=seed)


def markdown(results: Mapping[str, Mapping]) -> str:
    """Fine-tuned accuracy in % by candidate and target; tau and the best candidate's place by score and target."""
    names, targets = ("imagenet", *LEARNED, *RANDOM), TARGETS
    lines = ["| fine-tuned | " + " | ".join(targets) + " |", "|---" * (len(targets) + 1) + "|"]
    for name in names:
        cells = [f"{100 * fmean(results[f'{target}/{name}']['accuracy']):.1f}" for target in targets]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| weighted tau (place of the best) | " + " | ".join(targets) + " | mean |"]
    lines.append("|---" * (len(targets) + 2) + "|")
    for score in results[f"{targets[0]}/imagenet"]["scores"]:
        taus, cells = [], []
        for target in targets:
            found = {name: results[f"{target}/{name}"] for name in names}
            having = [name for name in names if score in found[name]["scores"]]
            values = np.array([found[name]["scores"][score] for name in having])
            reached = np.array([fmean(found[name]["accuracy"]) for name in having])
            tau = float(weightedtau(values, reached).statistic)
            taus.append(tau)
            cells.append(f"{tau:.2f} ({1 + int(np.sum(values > values[reached.argmax()]))} of {len(having)})")
        lines.append(f"| {score} | " + " | ".join(cells) + f" | {fmean(taus):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
