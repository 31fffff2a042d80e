"""Which layers of a speech network to train: strategies on spoken words of speakers never heard, with few labels.

    python scripts/benchmarks/speech_layers.py --model MODEL --dataset DATASET --output_dir outputs/speech_layers

For each number of labels a class every setting is run with all seeds under one budget; seeds draw the labelled rows,
the head and the order of rows. Validation rows choose the strength of solved heads and of the regressions; the test
split is the table's alone. Beside the strategies stand logistic regressions on the frozen, mean-pooled output of each
layer, and on other poolings of the last one. --test_rows speaker=a,b tests on these speakers of the dataset's test
split and trains on the others. Finished runs are kept in results.json, so a stopped run goes on where it was. Ends with
a Markdown table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers
from strategies import Results, key
from transformers import HfArgumentParser, TrainingArguments

from hf_transfer_kit import fit_window, layer_groups
from hf_transfer_kit.backbones import load_model, load_processor, modality_of
from hf_transfer_kit.backbones.feature_maps import FeatureMaps, channel_axis
from hf_transfer_kit.backbones.pooling import pooled_positions
from hf_transfer_kit.data import LoadedData, PreparedData, load_data, prepare_data
from hf_transfer_kit.features.head_solutions import Labelled, layer_of_classes
from hf_transfer_kit.features.layer_output import find_tap
from hf_transfer_kit.selection import Budget, PrefixCaches, Strategy, make_strategy, run_strategy
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts

SETTINGS = (
    "head_only",
    "weighted head_only",
    "statistics head_only",
    "freeze_first:k=1",
    "freeze_first:k=3",
    "freeze_first:k=5",
    "freeze_last:k=3",
    "freeze_last:k=5",
    "full",
    "statistics full",
    "layerwise:decay=0.5",
    "layerwise:decay=0.5,towards=head",
    "lora",
)
"""Of Whisper's encoder of four layers: its groups are the convolutions, four layers and the last norm. A word before
the strategy says what the head reads: the weighted sum of all layers, or positions pooled so (``load_model``)."""

MORE = ("max", "statistics")
"""Poolings that are tried of the last layer, beside the mean."""


@dataclass
class SpeechArguments:
    """What is compared, and on what."""

    model: str = field(metadata={"help": "Pretrained network of sounds, or of pictures, which hears log-mel pictures."})
    dataset: str = field(metadata={"help": "Labelled sounds with a train and a test split."})
    output_dir: str = field(default="outputs/speech_layers", metadata={"help": "Folder for results.json and table.md."})
    shots: list[int] = field(default_factory=lambda: [5, 20, 100], metadata={"help": "Labels a class."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Runs of each setting."})
    settings: list[str] = field(default_factory=lambda: list(SETTINGS), metadata={"help": "Rows of the table."})
    rate: float = field(default=3e-5, metadata={"help": "Learning rate where the body moves."})
    scratch_rate: float = field(default=1e-3, metadata={"help": "Learning rate of adapters."})
    head_rate: float = field(default=5e-3, metadata={"help": "Learning rate of a head alone."})
    steps: int = field(default=60, metadata={"help": "Optimizer steps of a run."})
    batch_size: int = field(default=16, metadata={"help": "Rows a step."})
    validation_rows: int = field(default=100, metadata={"help": "Rows that heads are chosen on."})
    max_seconds: float | None = field(default=None, metadata={"help": "Longest sound; default: from the data."})
    image_size: int | None = field(default=None, metadata={"help": "Side of log-mel pictures in pixels."})
    test_rows: str | None = field(
        default=None, metadata={"help": "Test rows, COLUMN=a,b; those of train have other values there."}
    )


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(SpeechArguments).parse_args_into_dataclasses()
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(folder / "results.json")
    for shots in options.shots:
        prepared = {seed: splits(options, shots, seed) for seed in options.seeds}
        heads = {seed: HeadStarts(data) for seed, data in prepared.items()}
        for seed in options.seeds:
            means: dict[str, dict[str, Labelled]] = {}
            for name in regressions_of(options):
                compute = partial(regression, options, prepared[seed], name, means)
                results.get(key(shots, name, None, seed), compute)
        for setting in options.settings:
            for seed in options.seeds:
                compute = partial(run, options, prepared[seed], heads[seed], setting, seed)
                results.get(key(shots, setting, rate_of(options, setting), seed), compute)
    table = markdown(results, options)
    (folder / "table.md").write_text(table)
    print(table)


def splits(options: SpeechArguments, shots: int, seed: int) -> PreparedData:
    """``shots`` labels a class, a validation split of its own, the whole test split; prepared."""
    train, test = rows_apart(options)
    whole = load_data(options.dataset, keep_rows=train, seed=seed)
    share = options.validation_rows / (len(whole.train) + len(whole.validation))
    size = shots * len(whole.label_names)
    loaded = load_data(options.dataset, keep_rows=train, train_size=size, validation_size=share, seed=seed)
    processor = load_processor(options.model, modality_of(raw_model(options, loaded, 0)))
    sizes = {"max_seconds": options.max_seconds, "image_size": options.image_size}
    data = prepare_data(loaded, processor, **sizes)
    if test is None:
        return data
    other = load_data(options.dataset, keep_rows=test, seed=seed)
    heard = prepare_data(other, processor, like=data)
    return PreparedData(**{**vars(data), "test": heard.test})


def rows_apart(options: SpeechArguments) -> tuple[dict[str, list[str]] | None, dict[str, list[str]] | None]:
    """What rows of train and of test have in the column that tells them apart; None twice for its splits."""
    if options.test_rows is None:
        return None, None
    column, _, values = options.test_rows.partition("=")
    train = load_data(options.dataset, keep_columns=[column]).train
    kind = train.features[column]
    there = kind.names if isinstance(kind, datasets.ClassLabel) else sorted(set(map(str, train[column])))
    others = [value for value in there if value not in values.split(",")]
    return {column: others}, {column: values.split(",")}


def raw_model(options: SpeechArguments, data: LoadedData | PreparedData, seed: int, *, reads: str = ""):
    """The pretrained network with a fresh head, as long as its window is."""
    head = {"weighted_layers": True} if reads == "weighted" else {"pooling": reads or "auto"}
    return load_model(options.model, id2label=dict(enumerate(data.label_names)), seed=seed, **head)


def run(options: SpeechArguments, data: PreparedData, heads: HeadStarts, setting: str, seed: int) -> dict[str, float]:
    """One run of one setting."""
    reads, strategy = parts_of(setting)
    args = TrainingArguments(
        output_dir=str(Path(options.output_dir) / "runs"),
        per_device_eval_batch_size=50,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        warmup_steps=options.steps // 10,
    )
    budget = Budget(options.steps, options.batch_size, evaluations=1, learning_rate=rate_of(options, setting))
    # A sum of all layers has no frozen prefix.
    caches = PrefixCaches(
        data, cache_budget=0 if reads == "weighted" else "4GB", cache_dir=Path(options.output_dir) / "cache"
    )
    done = run_strategy(
        strategy,
        lambda drawn: fit_window(raw_model(options, data, drawn, reads=reads), data.processor),
        data,
        args,
        budget,
        seed=seed,
        attach=caches.attach,
        heads=heads,
    )
    return {
        "validation": done.validation["accuracy"],
        "validation_loss": done.validation["loss"],
        "test": done.test["accuracy"],
        "seconds": done.seconds,
    }


def rate_of(options: SpeechArguments, setting: str) -> float:
    """Of what the setting trains."""
    rates = {"body": options.rate, "scratch": options.scratch_rate, "head": options.head_rate}
    return rates[parts_of(setting)[1].rate_kind]


def parts_of(setting: str) -> tuple[str, Strategy]:
    """What the head reads, empty for the last layer as transformers pools it, and the strategy."""
    reads, _, text = setting.rpartition(" ")
    return reads, make_strategy(text)


def layers_of(options: SpeechArguments) -> list[str]:
    """Names of the layer groups before the head."""
    return [group.name for group in layer_groups(load_model(options.model, num_labels=2)).body]


def regressions_of(options: SpeechArguments) -> list[str]:
    """The rows' names."""
    layers = layers_of(options)
    return [
        *(f"regression after {name}" for name in layers),
        *(f"regression after {layers[-1]}, {how}" for how in MORE),
    ]


def regression(
    options: SpeechArguments, data: PreparedData, name: str, means: dict[str, dict[str, Labelled]]
) -> dict[str, float]:
    """Logistic regression on the frozen output of a layer, pooled over positions."""
    if not means:
        means.update({split: pooled_layers(options, data, split) for split in ("train", "validation", "test")})
    split = {part: rows[name] for part, rows in means.items()}
    layer = layer_of_classes(split["train"], len(data.label_names), held=split["validation"])
    return {
        part: float((layer(split[part].features).argmax(1) == split[part].labels).mean())
        for part in ("validation", "test")
    }


@torch.no_grad()
def pooled_layers(options: SpeechArguments, data: PreparedData, split: str) -> dict[str, Labelled]:
    """Name of a regression -> what it reads of a split, all of one pass."""
    model = fit_window(raw_model(options, data, 0), data.processor)
    rows, names = getattr(data, split), layers_of(options)
    taps = [find_tap(model, depth, example_inputs=dict) for depth in range(len(names))]
    modules = dict(model.named_modules())
    maps = FeatureMaps(
        outputs={tap.name: [modules[name] for name in tap.modules] for tap in taps if not tap.is_input},
        inputs={tap.name: modules[tap.modules[0]] for tap in taps if tap.is_input},
    )
    found: dict[str, list[torch.Tensor]] = {name: [] for name in regressions_of(options)}
    labels = []
    for start in range(0, len(rows), 40):
        batch = data.collator([rows[place] for place in range(start, min(start + 40, len(rows)))])
        labels.append(batch.pop("labels"))
        maps.open()
        model(**batch)
        caught = maps.close()
        for name in names:
            positions = caught[name].movedim(channel_axis(model, caught[name].dim()), -1)
            positions = positions.reshape(len(positions), -1, positions.shape[-1])  # (B, P, D)
            found[f"regression after {name}"].append(positions.mean(1))
        for how in MORE:
            found[f"regression after {names[-1]}, {how}"].append(pooled_positions(positions, None, how=how))
    known = torch.cat(labels).numpy()
    return {name: Labelled(torch.cat(parts).numpy(), known) for name, parts in found.items()}


def markdown(results: Results, options: SpeechArguments) -> str:
    """Test accuracy in %, mean and standard error over the seeds."""
    lines = ["| | " + " | ".join(f"{shots} a class" for shots in options.shots) + " |"]
    lines.append("|---" * (1 + len(options.shots)) + "|")
    for name in [*regressions_of(options), *options.settings]:
        cells = []
        for shots in options.shots:
            rate = rate_of(options, name) if name in options.settings else None
            values = 100 * np.array([results.runs[key(shots, name, rate, seed)]["test"] for seed in options.seeds])
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
            cells.append(f"{values.mean():.1f} ± {error:.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
