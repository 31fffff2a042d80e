"""Strategies on real photos with few labels: mean and standard error over seeds, settings chosen on validation only.

    python scripts/benchmarks/strategies.py --model MODEL --dataset DATASET --output_dir outputs/strategies

For each number of labels a class, every strategy's three candidate settings (learning rate and strength) are run with
the first seed and the best on validation is kept; then it runs with all seeds. Seeds draw the head, the data order and
the labelled rows. The table shows the test split for the kept setting only. Beside the strategies stands a logistic
regression on the frozen features (regularisation chosen on validation). Finished runs are kept in results.json, so a
stopped run goes on where it was. Ends with a Markdown table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers
from sklearn.linear_model import LogisticRegression
from transformers import HfArgumentParser, TrainingArguments

from hf_transfer_kit.backbones import layer_groups, load_model, load_processor
from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.selection import Budget, make_strategy, run_strategy, strategy_text

# Learning rates tried for each strategy, and the strengths that its paper or common use suggest.
RATES = (5e-4, 1e-3, 2e-3)
CANDIDATES = {
    "full": [("full", rate) for rate in RATES],
    "head_only": [("head_only", rate) for rate in (5e-3, 1e-2, 2e-2)],
    "freeze_first": [("freeze_first", rate) for rate in RATES],
    "gradual": [("gradual", rate) for rate in RATES],
    "lp_ft": [("lp_ft", 5e-3), ("lp_ft", 1e-2), ("lp_ft:full_rate=0.3", 5e-3)],
    "layerwise": [("layerwise", 1e-3), ("layerwise", 2e-3), ("layerwise", 5e-3)],
    "l2sp": [("l2sp", 5e-4), ("l2sp", 2e-3), ("l2sp:alpha=0.1", 2e-3)],
    "l2sp_fisher": [("l2sp_fisher", 5e-4), ("l2sp_fisher", 2e-3), ("l2sp_fisher:alpha=0.1", 2e-3)],
    "delta": [("delta:alpha=0.1", 5e-4), ("delta:alpha=0.1", 2e-3), ("delta", 2e-3)],
    "bss": [("bss", 5e-4), ("bss", 2e-3), ("bss:alpha=0.01", 2e-3)],
    "co_tuning": [("co_tuning", 5e-4), ("co_tuning", 2e-3), ("co_tuning:alpha=0.3", 2e-3)],
    "wise_ft": [("wise_ft", rate) for rate in RATES],
    "ema": [("ema", rate) for rate in RATES],
    "swa": [("swa", rate) for rate in RATES],
    "surgical": [("surgical", 2e-3), ("surgical", 5e-3), ("surgical:blocks=3", 2e-3)],
    "auto_rgn": [("auto_rgn", rate) for rate in RATES],
    "lora": [("lora", 1e-3), ("lora", 2e-3), ("lora", 5e-3)],
    "lora_plus": [("lora:ratio=4", 1e-3), ("lora:ratio=16", 5e-4), ("lora:ratio=16", 1e-3)],
    "dora": [("peft:method=dora", 1e-3), ("peft:method=dora", 2e-3), ("peft:method=dora", 5e-3)],
    "ia3": [("peft:method=ia3", 2e-3), ("peft:method=ia3", 5e-3), ("peft:method=ia3", 1e-2)],
}


@dataclass
class BenchmarkArguments:
    """What is compared, and on what."""

    model: str = field(metadata={"help": "Pretrained image classifier."})
    dataset: str = field(metadata={"help": "Labelled photos with a train and a test split."})
    output_dir: str = field(default="outputs/strategies", metadata={"help": "Folder for results.json and table.md."})
    shots: list[int] = field(default_factory=lambda: [5, 20], metadata={"help": "Labels a class."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Runs of each kept setting."})
    strategies: list[str] = field(default_factory=lambda: list(CANDIDATES), metadata={"help": "Rows of the table."})
    image_size: int = field(default=96, metadata={"help": "Side in pixels."})
    steps: int = field(default=150, metadata={"help": "Optimizer steps of a run."})
    batch_size: int = field(default=16, metadata={"help": "Rows a step."})
    validation_rows: int = field(default=100, metadata={"help": "Rows that settings are chosen on."})
    settings: list[str] = field(
        default_factory=list,
        metadata={"help": "STRATEGY@RATE to run as they are, such as l2sp@0.002, in place of candidates and choice."},
    )
    head: str | None = field(
        default=None, metadata={"help": "What heads begin with: probe, random; by default the strategy's own."}
    )


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(BenchmarkArguments).parse_args_into_dataclasses()
    if options.settings:
        options.strategies = [make_strategy(setting.partition("@")[0]).name for setting in options.settings]
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(folder / "results.json")
    for shots in options.shots:
        prepared = {seed: splits(options, shots, seed) for seed in options.seeds}
        for seed in options.seeds:
            results.get(key(shots, "logistic regression", None, seed), partial(probe, options, prepared[seed]))
        for strategy in options.strategies:
            first = options.seeds[0]
            tried = []
            for text, rate in candidates(options, strategy):
                compute = partial(run, options, prepared[first], text, rate, first)
                tried.append((results.get(key(shots, text, rate, first), compute), text, rate))
            _, text, rate = max(tried, key=lambda entry: (entry[0]["validation"], -entry[0]["validation_loss"]))
            for seed in options.seeds:
                results.get(key(shots, text, rate, seed), partial(run, options, prepared[seed], text, rate, seed))
            results.kept[f"{shots}/{strategy}"] = [text, rate]
            results.save()
    table = markdown(results, options)
    (folder / "table.md").write_text(table)
    print(table)


def candidates(options: BenchmarkArguments, strategy: str) -> list[tuple[str, float]]:
    """Settings to try, with the head that was asked for."""
    given = [(text, float(rate)) for text, _, rate in (setting.partition("@") for setting in options.settings)]
    tried = [one for one in given if make_strategy(one[0]).name == strategy] or CANDIDATES[strategy]
    if options.head is None:
        return tried
    made = [(make_strategy(text), rate) for text, rate in tried]
    return [(strategy_text(replace(one, head=options.head)), rate) for one, rate in made]


class Results:
    """Finished runs by name, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stored = json.loads(path.read_text()) if path.exists() else {"runs": {}, "kept": {}}
        self.runs, self.kept = stored["runs"], stored["kept"]

    def get(self, name: str, compute) -> dict[str, float]:
        """The stored figures, or those computed now."""
        if name not in self.runs:
            self.runs[name] = compute()
            print(name, self.runs[name], flush=True)
            self.save()
        return self.runs[name]

    def save(self) -> None:
        """Writes the file in one step."""
        temporary = self.path.with_suffix(".unfinished")
        temporary.write_text(json.dumps({"runs": self.runs, "kept": self.kept}, indent=1))
        temporary.replace(self.path)


def key(shots: int, text: str, rate: float | None, seed: int) -> str:
    """Name of a run."""
    return f"{shots}/{text}/{'' if rate is None else f'{rate:g}'}/{seed}"


def splits(options: BenchmarkArguments, shots: int, seed: int):
    """Loaded and prepared rows: ``shots`` labels a class, a validation split of its own, the whole test split."""
    whole = load_data(options.dataset, seed=seed)
    share = options.validation_rows / (len(whole.train) + len(whole.validation))
    loaded = load_data(options.dataset, train_size=shots * len(whole.label_names), validation_size=share, seed=seed)
    processor = load_processor(options.model, "image")
    return loaded, prepare_data(loaded, processor, image_size=options.image_size)


def make_model(options: BenchmarkArguments, labels: tuple[str, ...], seed: int):
    """The pretrained network with a fresh head."""
    return load_model(options.model, id2label=dict(enumerate(labels)), seed=seed)


def run(options: BenchmarkArguments, prepared, text: str, rate: float, seed: int) -> dict[str, float]:
    """One run of one setting."""
    loaded, data = prepared
    args = TrainingArguments(
        output_dir=str(Path(options.output_dir) / "runs"),
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=100,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        warmup_steps=options.steps // 10,
    )
    budget = Budget(options.steps, options.batch_size, evaluations=1, learning_rate=rate)
    maker = partial(make_model, options, loaded.label_names)
    done = run_strategy(make_strategy(text), lambda s: maker(s), data, args, budget, seed=seed)
    return {
        "validation": done.validation["accuracy"],
        "validation_loss": done.validation["loss"],
        "test": done.test["accuracy"],
        "seconds": done.seconds,
    }


@torch.no_grad()
def probe(options: BenchmarkArguments, prepared) -> dict[str, float]:
    """Logistic regression on the frozen features."""
    loaded, data = prepared
    model = make_model(options, loaded.label_names, 0)
    head = next(iter(layer_groups(model).head.modules.values()))
    seen: list[torch.Tensor] = []
    head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    features, labels = {}, {}
    for split in ("train", "validation", "test"):
        rows = getattr(data, split)
        seen.clear()
        batches = [
            data.collator([rows[i] for i in range(s, min(s + 100, len(rows)))]) for s in range(0, len(rows), 100)
        ]
        for batch in batches:
            model(pixel_values=batch["pixel_values"])
        features[split] = torch.cat(seen).numpy()
        labels[split] = np.concatenate([batch["labels"].numpy() for batch in batches])
    fitted = [
        LogisticRegression(C=c, max_iter=5000).fit(features["train"], labels["train"]) for c in 10.0 ** np.arange(-4, 3)
    ]
    best = max(fitted, key=lambda model: model.score(features["validation"], labels["validation"]))
    return {split: float(best.score(features[split], labels[split])) for split in ("validation", "test")}


def markdown(results: Results, options: BenchmarkArguments) -> str:
    """Test accuracy in %, mean and standard error over the seeds."""
    lines = ["| strategy | " + " | ".join(f"{shots} per class | setting" for shots in options.shots) + " |"]
    lines.append("|---" * (1 + 2 * len(options.shots)) + "|")
    for strategy in ["logistic regression", *options.strategies]:
        cells = []
        for shots in options.shots:
            text, rate = results.kept.get(f"{shots}/{strategy}", [strategy, None])
            names = [key(shots, text, rate, seed) for seed in options.seeds]
            values = 100 * np.array([results.runs[name]["test"] for name in names])
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
            cells += [f"{values.mean():.1f} ± {error:.1f}", f"`{text}` at {rate:g}" if rate else "features"]
        lines.append(f"| {strategy} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
