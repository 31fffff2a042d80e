"""What a short window costs and changes in a network that hears windows of one length, such as Whisper's encoder.

    python scripts/benchmarks/short_windows.py --model MODEL --dataset DATASET

The same sounds in windows of --seconds and in the network's own: milliseconds a sound, how far the last layer's output
differs where there is sound (the norm of the difference of means over these positions, relative to the long window's,
and the cosine), and the test accuracy of a logistic regression on means over these positions and over the whole window,
which is what the classifier pools. Ends with a Markdown table.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import datasets
import numpy as np
import torch
import transformers
from transformers import HfArgumentParser

from hf_transfer_kit.backbones import load_model, load_processor
from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.features.head_solutions import Labelled, layer_of_classes
from hf_transfer_kit.values.windows import Window


@dataclass
class WindowArguments:
    """What is compared, and on what."""

    model: str = field(metadata={"help": "Pretrained network with a window."})
    dataset: str = field(metadata={"help": "Labelled sounds with a train and a test split."})
    seconds: list[int] = field(default_factory=lambda: [1, 2], metadata={"help": "Short windows."})
    rows: int = field(default=200, metadata={"help": "Training rows, and test rows at most."})
    seed: int = field(default=0, metadata={"help": "Of the rows."})


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(WindowArguments).parse_args_into_dataclasses()
    loaded = load_data(options.dataset, train_size=options.rows, seed=options.seed)
    test = loaded.test.shuffle(seed=options.seed).select(range(min(options.rows, len(loaded.test))))
    loaded = type(loaded)(**{**vars(loaded), "test": test})
    processor = load_processor(options.model, "audio")
    whole = Window.of(processor).seconds
    print("| window | ms a sound | difference | cosine | accuracy, where there is sound | accuracy, whole window |")
    print("|---|---|---|---|---|---|")
    # Sounds are compared in what the shortest window has of them.
    heard = min(options.seconds)
    means: dict[float, np.ndarray] = {}
    for seconds in [whole, *options.seconds]:
        data = prepare_data(loaded, processor, max_seconds=seconds)
        model = load_model(options.model, num_labels=2, max_seconds=seconds)
        started = time.perf_counter()
        train, held = (pooled(model, data, split, heard / seconds) for split in ("train", "test"))
        spent = 1000 * (time.perf_counter() - started) / (len(train[0]) + len(held[0]))
        means[seconds] = held[0]
        difference = np.linalg.norm(held[0] - means[whole], axis=1) / np.linalg.norm(means[whole], axis=1)
        cosine = (
            (held[0] * means[whole]).sum(1) / np.linalg.norm(held[0], axis=1) / np.linalg.norm(means[whole], axis=1)
        )
        labels = [
            np.array([int(rows[place]["labels"]) for place in range(len(rows))]) for rows in (data.train, data.test)
        ]
        right = []
        for kind in (0, 1):
            layer = layer_of_classes(Labelled(train[kind], labels[0]), len(data.label_names))
            right.append(100 * (layer(held[kind]).argmax(1) == labels[1]).mean())
        cells = [f"{seconds:g} s", f"{spent:.0f}", f"{difference.mean():.3f}", f"{cosine.mean():.4f}"]
        print("| " + " | ".join([*cells, *(f"{value:.1f}" for value in right)]) + " |", flush=True)


@torch.no_grad()
def pooled(model, data, split: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Means of the last layer's output, each (rows, D): over the first share of the positions, and over all."""
    rows, parts = getattr(data, split), []
    for start in range(0, len(rows), 20):
        batch = data.collator([rows[place] for place in range(start, min(start + 20, len(rows)))])
        positions = model(batch["input_features"], output_hidden_states=True).hidden_states[-1]  # (B, P, D)
        parts.append((positions[:, : round(share * positions.shape[1])].mean(1), positions.mean(1)))
    first, whole = zip(*parts, strict=True)
    return torch.cat(first).numpy(), torch.cat(whole).numpy()


if __name__ == "__main__":
    main()
