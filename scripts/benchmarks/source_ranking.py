"""Do transferability scores order pretrained networks as fine-tuning does? Weighted tau for each score.

    python scripts/benchmarks/source_ranking.py --output_dir outputs/source_ranking

Twelve candidates (two networks from ImageNet, three that went on from these to animals, photos and spoken digits, small
ones trained on digits, partly trained, trained on sounds, and three architectures with random weights) are scored on a
few labelled rows of each target, then fine-tuned whole. Scores are of the features that enter the head, and of four
depths of the network (a quarter, half and three quarters of its layer groups, and the last). Finished cells are kept in
results.json. Ends with Markdown: accuracies, and for each score the weighted tau (Vigna 2015) between scores and
fine-tuned accuracy over the candidates, and the place that it gives the best candidate. The last row is the ceiling
that chance sets: one seed's accuracies as the score of the others' mean.
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
import torch
import transformers
from advisor_grid import learned_source, some_rows, training_arguments
from scipy.stats import weightedtau
from transformers import HfArgumentParser, PreTrainedModel

from hf_transfer_kit import layer_groups
from hf_transfer_kit.backbones import load_model, load_processor, modality_of
from hf_transfer_kit.data import PreparedData, load_data, prepare_data
from hf_transfer_kit.features import cache_features
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
IMAGENET = {"imagenet": "mobilenetv2_100_imagenet", "imagenet_lite": "efficientnet_lite0_imagenet"}
WENT_ON = {
    "animals": {"from": "imagenet", "learned": "awa_photos", "rows": 800, "steps": 200, "batch_size": 16},
    "photos": {"from": "imagenet_lite", "learned": "pacs/photo", "rows": 370, "steps": 150, "batch_size": 16},
    "pictures_of_speech": {"from": "imagenet", "learned": "fsdd", "rows": 2160, "steps": 200, "batch_size": 16},
}
RANDOM = {"random_dann": "dann_mnist", "random_resnet": "small_resnet", "random_mobilenet": None}
NAMES = (*IMAGENET, *WENT_ON, *LEARNED, *RANDOM)
LARGE = (*IMAGENET, *WENT_ON, "random_mobilenet")
"""Networks of ImageNet's architectures, which read pictures of ``--image_size``."""
TARGETS = ("digits", "mnist_m", "fsdd", "bengali_digits", "flowers", "pacs/cartoon")
OF_DEPTHS = ("knn_accuracy", "probe_accuracy", "log_me")
_BATCH_SIZE = 16


@dataclass
class RankingArguments:
    """What is ranked, and on what."""

    pretrained_dir: str = field(default="../shared/pretrained", metadata={"help": "Folder of the networks."})
    data_dir: str = field(default="../shared/data", metadata={"help": "Folder of the datasets."})
    output_dir: str = field(default="outputs/source_ranking", metadata={"help": "Folder of results.json."})
    image_size: int = field(default=64, metadata={"help": "Side of pictures for the network from ImageNet."})
    per_class: int = field(default=20, metadata={"help": "Labelled rows a class."})
    test_rows: int = field(default=500, metadata={"help": "Of larger test splits so many."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Fine-tuning runs of each."})


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
        for name in NAMES:
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
    processor = fresh_processor(fresh) if fresh else load_processor(checkpoint, "image")
    size = {"image_size": options.image_size} if name in LARGE else {}
    data = prepare_data(loaded, processor, **size)
    data = replace(
        data, validation=some_rows(data.validation, 50, seed=0), test=some_rows(data.test, options.test_rows, seed=0)
    )
    assert modality_of(own) == "image"
    found = transferability(
        own, dataset=data.train, collator=data.collator, draws=0, cache_dir=folder / "caches", progress=False
    )
    depths = scores_by_depth(own, data, folder)
    budget = Budget(default_steps(len(data.train), _BATCH_SIZE, "image"), _BATCH_SIZE, evaluations=1)
    args = training_arguments(folder, _BATCH_SIZE, warmup=budget.max_steps // 10)
    maker = partial(_model, name, checkpoint, fresh, loaded.label_names)
    strategy = make_strategy("from_scratch" if name in RANDOM else "full")
    runs = [run_strategy(strategy, maker, data, args, budget, seed=seed) for seed in options.seeds]
    scores = {score: value.value for score, value in found.scores.items()}
    if name in RANDOM:  # its head has learned nothing
        scores = {score: value for score, value in scores.items() if score not in ("leep", "nce")}
    return {"accuracy": [run.test["accuracy"] for run in runs], "scores": scores, "depths": depths}


def scores_by_depth(model: PreTrainedModel, data: PreparedData, folder: Path) -> dict[str, list[float]]:
    """Score -> its value on the mean over positions after a quarter, half, three quarters and all of the groups."""
    count = len(layer_groups(model).body)
    found: dict[str, list[float]] = {name: [] for name in OF_DEPTHS}
    for share in (0.25, 0.5, 0.75, 1.0):
        features = cache_features(
            model,
            data.train,
            layer=round(share * (count - 1)),
            pooling="mean",
            collator=data.collator,
            cache_dir=folder / "caches",
            progress=False,
        )
        scores = transferability(features, scores=OF_DEPTHS, draws=0).scores
        for name in OF_DEPTHS:
            found[name].append(scores[name].value)
    return found


def checkpoint_of(name: str, options: RankingArguments, folder: Path) -> str:
    """Where the candidate's weights, or those of its architecture, are."""
    if name in IMAGENET or name in RANDOM:
        return f"{options.pretrained_dir}/{IMAGENET.get(name, IMAGENET['imagenet'])}"
    source = LEARNED.get(name) or WENT_ON[name]
    source = {**source, "learned": f"{options.data_dir}/{source['learned']}"}
    return went_on(name, source, options, folder) if name in WENT_ON else learned_source(name, source, folder)


def went_on(name: str, source: Mapping, options: RankingArguments, folder: Path) -> str:
    """The folder of a network from ImageNet that was fine-tuned on data of its own; made once."""
    place = folder / "sources" / name
    if not (place / "config.json").exists():
        start = checkpoint_of(source["from"], options, folder)
        loaded = load_data(source["learned"], train_size=source["rows"], validation_size=0.1)
        processor = load_processor(start, "image")
        data = prepare_data(loaded, processor, image_size=options.image_size)
        run = run_strategy(
            make_strategy("full"),
            partial(_model, name, start, None, loaded.label_names),
            data,
            training_arguments(folder, source["batch_size"], warmup=source["steps"] // 10),
            Budget(source["steps"], source["batch_size"], evaluations=1),
            seed=0,
        )
        print(f"{name}: {run.test['accuracy']:.3f} on its own data.", flush=True)
        run.model.to(memory_format=torch.contiguous_format).save_pretrained(place)
        processor.save_pretrained(place)
    return str(place)


def _model(name: str, checkpoint: str, fresh: str | None, labels: tuple[str, ...], seed: int):
    if fresh:
        return fresh_network(fresh, labels, seed=seed)
    return load_model(checkpoint, id2label=dict(enumerate(labels)), pretrained=name not in RANDOM, seed=seed)


def markdown(results: Mapping[str, Mapping]) -> str:
    """Fine-tuned accuracy in % by candidate and target; tau and the best candidate's place by score and target."""
    names, targets = NAMES, TARGETS
    lines = ["| fine-tuned | " + " | ".join(targets) + " |", "|---" * (len(targets) + 1) + "|"]
    for name in names:
        cells = [f"{100 * fmean(results[f'{target}/{name}']['accuracy']):.1f}" for target in targets]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| weighted tau (place of the best) | " + " | ".join(targets) + " | mean |"]
    lines.append("|---" * (len(targets) + 2) + "|")
    table = {cell: {**found["scores"], **over_depths(found["depths"])} for cell, found in results.items()}
    for score in table[f"{targets[0]}/imagenet"]:
        taus, cells = [], []
        for target in targets:
            having = [name for name in names if score in table[f"{target}/{name}"]]
            values = np.array([table[f"{target}/{name}"][score] for name in having])
            reached = np.array([fmean(results[f"{target}/{name}"]["accuracy"]) for name in having])
            tau = float(weightedtau(values, reached).statistic)
            taus.append(tau)
            cells.append(f"{tau:.2f} ({1 + int(np.sum(values > values[reached.argmax()]))} of {len(having)})")
        lines.append(f"| {score} | " + " | ".join(cells) + f" | {fmean(taus):.2f} |")
    taus = [ceiling([results[f"{target}/{name}"]["accuracy"] for name in names]) for target in targets]
    cells = " | ".join(f"{tau:.2f}" for tau in taus)
    lines.append(f"| one seed of fine-tuning | {cells} | {fmean(taus):.2f} |")
    return "\n".join(lines)


def ceiling(accuracies: list[list[float]]) -> float:
    """Weighted tau of each seed's accuracies against the mean of the other seeds, its mean over the seeds."""
    table = np.array(accuracies)  # (candidates, seeds)
    seeds = range(table.shape[1])
    return fmean(float(weightedtau(table[:, s], np.delete(table, s, axis=1).mean(1)).statistic) for s in seeds)


def over_depths(depths: Mapping[str, list[float]]) -> dict[str, float]:
    """Scores of several depths joined: their mean, that of the last two, and the best depth."""
    joined = {"mean of depths": fmean, "mean of the last two": lambda values: fmean(values[-2:]), "best depth": max}
    return {f"{name}, {how}": join(values) for name, values in depths.items() for how, join in joined.items()}


if __name__ == "__main__":
    main()
