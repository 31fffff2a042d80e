"""Alignments of frozen features beside one another: every ordered pair of domains, one network, one classifier.

    python scripts/benchmarks/shallow_alignments.py --model MODEL --domains A B C --alignments none standardised coral

Features of training and test rows are computed once; each alignment sees the source's training rows with labels and the
target's training and test rows without, and is judged on the target's test rows. Ends with a Markdown table of the
means over all pairs. Nothing in it is random but the folds that choose the regularisation.
"""

from __future__ import annotations

import argparse
from itertools import permutations

import datasets
import numpy as np
import transformers

from hf_transfer_kit import load_model, load_processor
from hf_transfer_kit.adaptation import shallow_adaptation
from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.features import cache_features
from hf_transfer_kit.selection.contest.option_texts import read_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Pretrained network.")
    parser.add_argument("--domains", nargs="+", required=True, help="Datasets of the same classes.")
    parser.add_argument("--sources", nargs="+", help="Of the domains, those that have labels; default: each in turn.")
    parser.add_argument(
        "--alignments", nargs="+", default=["none", "standardised", "coral:ridge=1", "coral:ridge=3", "coral"]
    )
    parser.add_argument("--image_size", type=int)
    parser.add_argument("--max_length", type=int)
    given = parser.parse_args()
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()

    first = load_data(given.domains[0])
    model = load_model(given.model, num_labels=len(first.label_names))
    processor = load_processor(given.model, first.modality)
    sizes = {name: value for name in ("image_size", "max_length") if (value := getattr(given, name)) is not None}
    found = {}
    for name in given.domains:
        data = prepare_data(load_data(name), processor, **sizes)
        splits = {"train": data.train, "test": data.test}
        found[name] = {
            split: cache_features(model, rows, collator=data.collator, batch_size=64, progress=False)
            for split, rows in splits.items()
        }

    scores: dict[str, list[float]] = {text: [] for text in given.alignments}
    for source, target in permutations(given.domains, 2):
        if source not in (given.sources or given.domains):
            continue
        test = found[target]["test"]
        rows = np.concatenate([found[target]["train"].features, test.features])
        for text in given.alignments:
            kind, options = read_text(text)
            said = shallow_adaptation(found[source]["train"], rows, method=kind, **options).predictions[-len(test) :]
            scores[text].append(100 * float(np.mean(said == np.asarray(test.labels))))
        told = ", ".join(f"{text} {values[-1]:.1f}" for text, values in scores.items())
        print(f"{source} to {target}: {told}", flush=True)
    print(f"| {' | '.join(given.alignments)} |", "|---" * len(given.alignments) + "|", sep="\n")
    print(f"| {' | '.join(f'{np.mean(values):.1f}' for values in scores.values())} |")


if __name__ == "__main__":
    main()
